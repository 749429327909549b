"""What each position is computed with: structured, deeper, sparser, elastic or low-bit layers."""
