#!/usr/bin/env python3
"""Opens a report in headless Chromium and uses it: no console error, sorting, toggling, tooltips, dark mode, phone width,
and a print to PDF that has every column. Usage: scripts/report-check.py REPORT.html [FOLDER for screenshots].

Needs playwright and a Chromium (`pip install playwright`, then `playwright install chromium` or a system package); skips,
saying so, where there is none. `CHROMIUM` names the program to use.
"""

import os
import shutil
import sys
import unicodedata
from pathlib import Path

try:
    from playwright.sync_api import Error, sync_playwright
except ImportError:
    print("skipped: no playwright here (pip install playwright)")
    sys.exit(0)


def check(ok, what):
    if not ok:
        raise SystemExit(f"FAILED: {what}")
    print(f"ok: {what}")


def browser_of(playwright):
    named = os.environ.get("CHROMIUM") or next(
        (p for p in map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]) if p), None
    )
    try:
        return playwright.chromium.launch(executable_path=named, args=["--no-sandbox"])
    except Error as e:
        print(f"skipped: no Chromium can be started ({str(e).splitlines()[0]})")
        sys.exit(0)


def numbers(page, table, column):
    rows = page.locator("table.sortable").nth(table).locator("tbody tr")
    texts = [rows.nth(i).locator("td").nth(column).inner_text() for i in range(rows.count())]
    out = []
    for text in texts:
        try:
            out.append(float(text.replace("\u2212", "-").lstrip("\u00d7")))
        except ValueError:
            out.append(None)
    return out


def sorting(page):
    heads = page.locator("table.sortable").nth(0).locator("th")
    heads.nth(1).locator("button").click()
    up = [v for v in numbers(page, 0, 1) if v is not None]
    check(up == sorted(up), "a click on a column sorts it")
    heads.nth(1).locator("button").click()
    down = [v for v in numbers(page, 0, 1) if v is not None]
    check(down == sorted(down, reverse=True), "a second click turns the order")
    check(heads.nth(1).get_attribute("aria-sort") == "descending", "the order is told to screen readers")


def toggling(page):
    arms = page.locator(".arms button")
    check(arms.count() >= 1, f"{arms.count()} arms can be toggled")
    colour = arms.nth(0).get_attribute("data-colour")
    shown = lambda: page.evaluate(
        "c => [...document.querySelectorAll(`svg g[data-colour='${c}']`)].filter(g => getComputedStyle(g).display !== 'none').length",
        colour,
    )
    before = shown()
    check(before > 0, f"{before} marks of the first arm are drawn")
    arms.nth(0).click()
    check(shown() == 0, "an arm that is switched off is gone from every figure")
    check(not page.locator(".answer").nth(0).is_visible(), "and its answer too")
    arms.nth(0).click()
    check(shown() == before, "and back again")


def hovering(page, kind):
    found = page.evaluate(
        """kind => { const plots = [...document.querySelectorAll('.plot.wide')];
        const i = plots.findIndex(p => JSON.parse(p.querySelector('script').textContent).panels.some(q => q[kind]));
        if (i < 0) return null;
        const data = JSON.parse(plots[i].querySelector('script').textContent);
        const panel = data.panels.find(q => q[kind]);
        const box = kind === 'bars' ? panel.bars.reduce((a, b) => (b.box[2]-b.box[0])*(b.box[3]-b.box[1]) > (a.box[2]-a.box[0])*(a.box[3]-a.box[1]) ? b : a).box : panel.frame;
        plots[i].scrollIntoView({block: 'center', behavior: 'instant'});
        const r = plots[i].querySelector('svg').getBoundingClientRect(), s = r.width / data.size[0];
        return [r.left + s * (box[0] + box[2]) / 2, r.top + s * (box[1] + box[3]) / 2]; }""",
        kind,
    )
    if found is None:
        print(f"note: no figure has {kind}")
        return
    page.mouse.move(*found)
    text = page.locator("#tip").inner_text()
    check(page.locator("#tip").is_visible() and any(c.isdigit() for c in text), f"values of {kind}: {text!r}")


def printing(page, folder):
    pdf = folder / "report.pdf"
    page.pdf(path=str(pdf), prefer_css_page_size=True, print_background=True)
    try:
        from pypdf import PdfReader
    except ImportError:
        print("skipped: no pypdf here, the printed columns are not read back")
        return
    # Ligatures (ffn is set as one glyph and n) are letters again in the compatibility form.
    plain = lambda s: "".join(unicodedata.normalize("NFKC", s).split())
    text = plain("".join(p.extract_text() for p in PdfReader(str(pdf)).pages))
    heads = page.evaluate("() => [...document.querySelectorAll('th')].map(e => e.textContent)")
    cells = page.evaluate("() => [...document.querySelectorAll('tr td:last-child')].map(e => e.textContent)")
    missing = [w for w in heads + cells if plain(w) not in text]
    check(not missing, f"the print has all {len(heads)} column heads and {len(cells)} last cells (missing: {missing[:3]})")
    # A page is 186 mm wide inside its margins; nothing may stick out of it.
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1000})
    wide = page.evaluate("() => [...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > 704).length")
    check(wide == 0, "no table sticks out of the printed page")
    page.emulate_media(media="screen")


def main():
    report = Path(sys.argv[1]).resolve()
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else report.parent
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = browser_of(playwright)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        problems, fetched = [], []
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.on("request", lambda r: fetched.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto(report.as_uri())
        page.screenshot(path=str(folder / "report-1400.png"))
        page.screenshot(path=str(folder / "report-1400-whole.png"), full_page=True)
        sorting(page)
        toggling(page)
        for kind in ["lines", "cells", "bars"]:
            hovering(page, kind)
        before = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").click()
        after = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        check(before != after, "light and dark")
        page.evaluate("() => scrollTo({top: 0, behavior: 'instant'})")
        page.screenshot(path=str(folder / "report-dark.png"))
        page.locator("#theme").click()
        page.set_viewport_size({"width": 400, "height": 800})
        page.screenshot(path=str(folder / "report-400.png"))
        links = page.locator(".bar nav a")
        seen = [links.nth(i).is_visible() for i in range(links.count())]
        check(seen and all(seen), f"all {len(seen)} sections can be reached on a phone")
        links.last.click()
        # Scrolling is smooth: it takes a while.
        page.wait_for_function("() => document.getElementById('words').getBoundingClientRect().top < innerHeight")
        print("ok: a link leads to its section")
        page.evaluate("() => scrollTo({top: 0, behavior: 'instant'})")
        page.screenshot(path=str(folder / "report-400-whole.png"), full_page=True)
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        check(wide <= 400, f"nothing is wider than a phone ({wide} of 400 pixels)")
        page.set_viewport_size({"width": 1400, "height": 900})
        printing(page, folder)
        check(not problems, f"nothing on the console {problems[:3]}")
        check(not fetched, f"nothing is fetched {fetched[:3]}")
        browser.close()
    print("the report works")


main()
