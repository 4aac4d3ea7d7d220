"""A NiceGUI application: the page lives over Socket.IO."""

import sys

from nicegui import ui


@ui.page("/")
def page() -> None:
    ui.label("Fog horn").classes("text-h4")
    count = {"n": 0}
    said = ui.label("silent")

    def blow() -> None:
        count["n"] += 1
        said.set_text(f"blown {count['n']} times")

    ui.button("Blow", on_click=blow)
    name = ui.input("Keeper")
    ui.label().bind_text_from(name, "value", backward=lambda value: f"kept by {value or 'nobody'}")


ui.run(
    host="127.0.0.1", port=int(sys.argv[1]), show=False, reload=False, title="Fog horn",
    storage_secret="only for tests",
)  # fmt: skip
