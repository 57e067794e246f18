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
    "ts": "application/typescript",
}

Files = dict[str, tuple[bytes, str]]
"""Files by path, with their types."""


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


def page_files(package: str) -> Files:
    """Return a page's files and those that all pages share.

    Args:
        package: The part of avatarpool in whose ``static`` the page is; its ``index.html``
            is at ``/``.
    """
    found = _files("endpoint", "/") | _files(package, "/")
    found["/"] = found.pop("/index.html")
    return found


def face_files() -> Files:
    """Return the JavaScript module for faces: ``/face/avatarpool-face.js``, and what it imports."""
    return _files("blendshapes", "/face/")


def _files(part: str, under: str) -> Files:
    return {
        f"{under}{file.name}": (file.read_bytes(), _TYPES[suffix])
        for file in files("avatarpool").joinpath(part, "static").iterdir()
        if (suffix := file.name.rpartition(".")[2]) in _TYPES
    }
