"""Long lists, page by page (no I/O)."""

from __future__ import annotations

import attrs

__all__ = ["PageInfo", "PagePaginationParams"]


@attrs.frozen
class PagePaginationParams:
    """Which page of a list is wanted."""

    page: int = 1
    """From 1 on."""
    page_size: int = 20
    """Entries, 1 to 200."""

    def __attrs_post_init__(self) -> None:
        if self.page < 1 or not 1 <= self.page_size <= 200:
            raise ValueError("pages count from 1, and have 1 to 200 entries")


@attrs.frozen
class PageInfo:
    """Which page this is, and how many there are."""

    page: int
    page_size: int
    total_count: int
    """Entries of all pages."""
    total_pages: int
