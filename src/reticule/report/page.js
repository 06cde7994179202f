"use strict";
// Draws all figures in the colours of the page, and again when the colour scheme changes.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);

  function coloured(value, colour) {
    if (Array.isArray(value)) return value.map((item) => coloured(item, colour));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [
          key,
          // names and texts of a figure are shown as they are
          ["name", "text", "hovertemplate", "x", "y"].includes(key) && typeof item !== "object"
            ? item
            : coloured(item, colour),
        ]),
      );
    }
    if (value === "--scale") return [[0, colour("--scale-low")], [1, colour("--scale-high")]];
    return typeof value === "string" && /^--[a-z]+[0-9]?$/.test(value) ? colour(value) : value;
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const ink = colour("--quiet");
    const line = colour("--line");
    const axis = { color: ink, gridcolor: line, zeroline: false, automargin: true, fixedrange: true };
    for (const [id, figure] of Object.entries(figures)) {
      const layout = coloured(figure.layout, colour);
      const height = layout.height;
      Plotly.react(
        id,
        coloured(figure.data, colour).map((trace) =>
          trace.type === "bar" ? { ...trace, textfont: { color: colour("--on-colour"), size: 12 } } : trace,
        ),
        {
          ...layout,
          height,
          paper_bgcolor: "rgba(0,0,0,0)",
          plot_bgcolor: "rgba(0,0,0,0)",
          font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
          margin: { l: 10, r: 10, t: layout.title ? 36 : 12, b: 10 },
          xaxis: { ...axis, showgrid: false, ...layout.xaxis },
          yaxis: { ...axis, ...layout.yaxis },
        },
        { displayModeBar: false, responsive: true },
      );
    }
  }

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
