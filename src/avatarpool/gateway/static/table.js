// A table whose rows are written anew in place, so that nothing jumps and all is text.

export class Table {
  #body;
  #table;
  #note;
  #labels;
  #empty;

  /** @param empty What is said where there is no row. */
  constructor(body, empty) {
    this.#body = body;
    this.#table = body.parentElement;
    this.#note = this.#table.nextElementSibling;
    this.#labels = [...this.#table.querySelectorAll("th")].map((head) => head.textContent);
    this.#empty = empty;
    this.#table.hidden = true;
  }

  /** @param rows Of each row its cells: texts, or `{ text, className }`. */
  show(rows, note = "") {
    while (this.#body.rows.length > rows.length) this.#body.deleteRow(-1);
    rows.forEach((cells, number) => {
      const row = this.#body.rows[number] ?? this.#addRow();
      cells.forEach((cell, column) => write(row.cells[column].firstChild, cell));
    });
    this.#table.hidden = !rows.length;
    this.#note.textContent = rows.length ? note : this.#empty;
    this.#note.hidden = !this.#note.textContent;
  }

  #addRow() {
    const row = this.#body.insertRow();
    row.setAttribute("role", "row");
    for (const label of this.#labels) {
      const cell = row.insertCell();
      cell.setAttribute("role", "cell");
      cell.dataset.label = label;
      cell.append(document.createElement("span"));
    }
    return row;
  }
}

function write(element, cell) {
  const { text, className = "" } = typeof cell === "object" ? cell : { text: String(cell) };
  if (element.textContent !== text) element.textContent = text;
  if (element.className !== className) element.className = className;
}
