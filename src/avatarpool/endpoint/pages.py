"""Pages that are served to browsers: their files, and the policy they come under."""

from __future__ import annotations

from importlib.resources import files

# Not mimetypes: what it says depends on the machine, and browsers insist on these.
_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "json": "application/json",
    "svg": "image/svg+xml",
}


def page_headers(*, media: str = "'none'") -> dict[str, str]:
    """Return what each answer of a page says: nothing of another origin, nothing inline.

    Args:
        media: Where audio may come from, as a Content-Security-Policy has it.
    """
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            f"connect-src 'self'; media-src {media}; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }


def page_files(package: str) -> dict[str, tuple[bytes, str]]:
    """Return a page's files and those that all pages share, by path, with their types.

    Args:
        package: The part of avatarpool in whose ``static`` the page is; its ``index.html``
            is at ``/``.
    """
    found = {
        f"/{file.name}": (file.read_bytes(), _TYPES[suffix])
        for part in ("endpoint", package)
        for file in files("avatarpool").joinpath(part, "static").iterdir()
        if (suffix := file.name.rpartition(".")[2]) in _TYPES
    }
    found["/"] = found.pop("/index.html")
    return found
