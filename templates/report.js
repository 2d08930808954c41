"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, of = document) => [...of.querySelectorAll(selector)];

  // Light or dark by hand; what the system says otherwise.
  const dark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
  });

  // An arm's lines, bars, markers, table rows and answers go and come together.
  const arms = all(".arms button");
  const shown = () => arms.filter((b) => b.getAttribute("aria-pressed") === "true");
  const refresh = () => {
    const on = shown();
    all("svg g[data-colour]").forEach((g) => {
      const mine = arms.filter(
        (b) => b.dataset.colour === g.dataset.colour && (!g.dataset.dash || b.dataset.dash === g.dataset.dash)
      );
      const faint = arms.filter((b) => b.dataset.faint === g.dataset.colour);
      const of = mine.length ? mine : faint;
      g.classList.toggle("off", of.length > 0 && !of.some((b) => on.includes(b)));
    });
    all("[data-run]").forEach((e) => {
      if (!arms.includes(e)) e.classList.toggle("off", !on.some((b) => b.dataset.run === e.dataset.run));
    });
  };
  arms.forEach((b) =>
    b.addEventListener("click", () => {
      b.setAttribute("aria-pressed", b.getAttribute("aria-pressed") !== "true");
      refresh();
    })
  );

  // Tables sort by a column: up, then down. What is no number stays below.
  const key = (cell) => {
    const text = cell.textContent.trim().replace("−", "-").replace(/^×/, "");
    const number = parseFloat(text.replace(/^steps? /, ""));
    return Number.isNaN(number) ? text : number;
  };
  all("table.sortable").forEach((table) => {
    const heads = all("th", table.tHead);
    heads.forEach((th, column) => {
      const button = document.createElement("button");
      button.append(...th.childNodes);
      th.append(button);
      button.addEventListener("click", () => {
        const down = th.getAttribute("aria-sort") === "ascending";
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
        rows.sort(([a], [b]) => {
          if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
          const order = typeof a === "number" ? a - b : a.localeCompare(b);
          return down ? -order : order;
        });
        rows.forEach(([, row]) => body.append(row));
      });
    });
  });

  // Values under the pointer.
  const tip = document.getElementById("tip");
  const place = (axis, v) => {
    if (axis.scale === "log") return Math.log10(v);
    if (axis.scale === "symlog") return Math.sign(v) * Math.log1p(Math.abs(v) / axis.linear);
    return v;
  };
  const value = (axis, t) => {
    const [a, b] = axis.range.map((v) => place(axis, v));
    const p = a + t * (b - a);
    if (axis.scale === "log") return 10 ** p;
    if (axis.scale === "symlog") return Math.sign(p) * Math.expm1(Math.abs(p)) * axis.linear;
    return p;
  };
  const show = (v) => (v === null || v === undefined ? "–" : String(+v.toPrecision(4)));
  const nearest = (grid, x) => {
    let best = -1;
    grid.forEach((g, i) => {
      if (g !== null && (best < 0 || Math.abs(g - x) < Math.abs(grid[best] - x))) best = i;
    });
    return best;
  };
  const index = (edges, at) => {
    for (let i = 0; i + 1 < edges.length; i++) {
      const [a, b] = [edges[i], edges[i + 1]];
      if (a !== null && b !== null && at >= Math.min(a, b) && at < Math.max(a, b)) return i;
    }
    return -1;
  };
  const hidden = (colour) => {
    const mine = arms.filter((b) => b.dataset.colour === colour);
    return mine.length > 0 && !mine.some((b) => b.getAttribute("aria-pressed") === "true");
  };
  const told = (panel, x, y) => {
    const [left, top, right, bottom] = panel.frame;
    if (x < left || x > right || y < top || y > bottom) return null;
    const named = (axis, i, v) => (axis.names ? axis.names[i] : show(v));
    if (panel.cells) {
      const [i, j] = [index(panel.cells.x, x), index(panel.cells.y, y)];
      if (i < 0 || j < 0) return null;
      const at = value(panel.x, (x - left) / (right - left));
      const across = panel.x.names ? panel.x.names[i] : show(Math.round(at));
      return [`${panel.y.label} ${named(panel.y, j, j)}, ${panel.x.label} ${across}`,
        [["", `${panel.cells.label}: ${show(panel.cells.values[j][i])}`]]];
    }
    if (panel.bars) {
      const over = panel.bars.filter((b) => x >= b.box[0] - 1 && x <= b.box[2] + 1 && y >= b.box[1] - 1 && y <= b.box[3] + 1);
      if (!over.length) return null;
      const axis = panel.x.names ? panel.x : panel.y;
      return [`${axis.label} ${over[0].place ?? ""}`.trim(), over.map((b) => ["", `${b.name ?? "part"}: ${show(b.value)}`])];
    }
    if (panel.lines) {
      const at = value(panel.x, (x - left) / (right - left));
      const rows = [];
      let step = null;
      panel.lines.forEach((line) => {
        if (hidden(line.colour)) return;
        const grid = panel.grids[line.x];
        const i = nearest(grid, at);
        if (i < 0 || line.y[i] === null) return;
        step = step ?? grid[i];
        rows.push([line.colour, `${line.name}: ${show(line.y[i])}`]);
      });
      const across = panel.x.names ? panel.x.names[Math.round(at)] : show(step);
      return rows.length ? [`${panel.x.label} ${across}`, rows.slice(0, 16)] : null;
    }
    return null;
  };
  all(".plot").forEach((plot) => {
    const svg = plot.querySelector("svg");
    const data = JSON.parse(plot.querySelector("script").textContent);
    const hide = () => { tip.style.display = "none"; };
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", (e) => {
      const box = svg.getBoundingClientRect();
      const scale = data.size[0] / box.width;
      const [x, y] = [(e.clientX - box.left) * scale, (e.clientY - box.top) * scale];
      const found = data.panels.map((p) => told(p, x, y)).find((t) => t);
      if (!found) return hide();
      tip.replaceChildren(found[0]);
      found[1].forEach(([colour, text]) => {
        tip.append("\n");
        if (colour) {
          const mark = document.createElement("i");
          mark.style.background = colour;
          tip.append(mark);
        }
        tip.append(text);
      });
      tip.style.display = "block";
      const left = Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 6);
      tip.style.left = `${Math.max(4, left)}px`;
      tip.style.top = `${Math.min(e.clientY + 14, innerHeight - tip.offsetHeight - 6)}px`;
    });
  });
})();
