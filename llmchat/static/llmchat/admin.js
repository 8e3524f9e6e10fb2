// Roles and names that the pages of the admin's theme lack, for those who do not see
// them. What scripts add later gets them as well.
(() => {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const text = (element) => element?.textContent.trim().replace(/\*$/, "") ?? "";
  let count = 0;

  // SimpleBar reads its options from the attributes, and begins behind this.
  function nameScrolled(bar) {
    const heading = bar.closest("fieldset")?.querySelector("h2, h3");
    const known = { "nav-sidebar-apps": "Menu", "command-results": "Results" };
    const name = bar.querySelector("#result_list")
      ? "List"
      : bar.closest("#changelist-filter")
        ? "Filters"
        : text(heading) || known[bar.id] || `Part ${++count}`;
    bar.dataset.simplebarAriaLabel = name;
  }

  // Of what is chosen by typing: until something is, the box is named after nothing.
  function nameBox(box) {
    const select = box.closest(".select2-container")?.previousElementSibling;
    const label = select && (select.labels?.[0] ?? titleOf(select));
    const name = select?.ariaLabel || text(label);
    if (!name) return;
    box.ariaLabel = name;
    box.querySelector("[role=textbox]")?.setAttribute("aria-label", name);
  }

  function titleOf(select) {
    return select.parentElement.parentElement.querySelector("h2, h3, label");
  }

  function nameAll() {
    each(".select2-selection[role=combobox]:not([aria-label])", nameBox);
    each(".help-tooltip[aria-label]:not([role])", (icon) => (icon.role = "img"));
    each(".llm-markdown pre", (block) => (block.tabIndex = 0));
    each("#changelist-filter h3", (title) => (title.ariaLevel = "2"));
    each(".formset-wrapper thead th", (head) => {
      if (text(head)) return;
      head.append("Delete");
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const main = document.getElementById("main") ?? document.getElementById("page");
    if (main) main.role = "main";
    each("[data-simplebar]", nameScrolled);
    nameAll();
    new MutationObserver(nameAll).observe(document.body, { childList: true, subtree: true });
  });
})();
