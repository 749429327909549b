"""Text encoders: bidirectional trunks that give vectors, labels, spans and answers."""
