"""The plain pages of the demo site."""

PAGES: dict[str, tuple[str, str]] = {
    "/": ("home.html", "Home"),
    "/lights/": ("lights.html", "Lights"),
    "/lights/north/skerry.html": ("skerry.html", "Skerry Light"),
    "/app/": ("app.html", "Almanac"),
    "/live/": ("live.html", "Live"),
    "/post/": ("post.html", "Post office"),
    "/archive/": ("archive.html", "Archive"),
    "/styles/": ("styles.html", "Styles"),
    "/workers/": ("workers.html", "Crew"),
}
"""Path -> template and title of the plain pages."""
