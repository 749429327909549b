"""Measuring: figures of quality and cost, intervals, verdicts, and reports for a person.

    retrieval    ranked lists against relevance judgements, as trec_eval counts them
    language     bits per byte, perplexity
    costs        parameters, bytes, operations, latency, peak memory, the machine
    scaling      power laws of loss over cost; networks of equal cost
    counting     operations, bytes and calls of each part, and the machine's roofline
    statistics   bootstrap and Student intervals, paired
    verdicts     a claim's verdict from its repeats: the one place where it is computed
    pareto       which arms no other arm beats at everything
    reports      tables for the terminal, pages for the browser, sections for the results

Nothing heavy is imported until it is used.
"""
