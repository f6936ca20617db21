// Tables of a report: a click on a column sorts, a box above long ones filters. Without scripts they stand as they are.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  // Figures of others stay behind the row they belong to.
  const blocks = [];
  for (const row of body.rows) {
    if (row.classList.contains("published") && blocks.length) blocks.at(-1).push(row);
    else blocks.push([row]);
  }
  if (blocks.length < 3) continue;
  const number = (row, column) => {
    const text = row.cells[column]?.firstChild?.textContent?.trim().replaceAll(",", "").replace("−", "-") ?? "";
    return text === "" || text === "–" ? NaN : parseFloat(text);
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    if (!button.textContent) button.textContent = "Row";
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sign = down ? -1 : 1;
      const order = blocks.map((block) => [number(block[0], column), block[0].cells[column]?.textContent ?? "", block]);
      order.sort((a, b) => {
        if (column === 0) return sign * a[1].localeCompare(b[1], undefined, { numeric: true });
        if (isNaN(a[0]) || isNaN(b[0])) return isNaN(a[0]) - isNaN(b[0]);
        return sign * (a[0] - b[0]);
      });
      for (const [, , block] of order) body.append(...block);
    });
  });
  if (blocks.length > 12) {
    const filter = document.createElement("input");
    filter.className = "filter";
    filter.type = "search";
    filter.placeholder = `Filter ${blocks.length} rows`;
    filter.setAttribute("aria-label", "Filter rows");
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/);
      for (const block of blocks) {
        const text = block[0].cells[0].textContent.toLowerCase();
        for (const row of block) row.hidden = !words.every((word) => text.includes(word));
      }
    });
    table.parentElement.before(filter);
  }
}
