"""Reports for a person: tables in the terminal, pages in the browser, sections of the result pages.

    numbers    figures as a person reads them
    terminal   tables as text
    html       self-contained pages
    plots      figures as inline SVG
    compare    the report of a comparison
    record     the section of one claim's record

Matplotlib and rich are loaded when something is drawn.
"""
