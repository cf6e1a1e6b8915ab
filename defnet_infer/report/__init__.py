"""A results file as one page to look at: `defnet report results.csv --out report.html`.

The page is one file: no network, no server. Rows and thumbnails are data in it, and only what is in view becomes
part of the document, so that ten thousand photos scroll as smoothly as ten.

    rows.py         a results file, also one that was edited by hand
    thumbnails.py   small upright pictures, made in parallel
    payload.py      rows as the JSON that the page reads
    page.py         everything put into one file
    make.py         the whole way from results to page
    compare.py      two results files
    command.py      defnet report, defnet diff
    static/         the page: template, style, scripts
    vendor/         d3 and Observable Plot, as their packages bring them
"""
