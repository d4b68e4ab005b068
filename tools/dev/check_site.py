"""Check a built site for dead links: every file, every anchor, and nothing that a page would load from elsewhere."""

from __future__ import annotations

import argparse
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, where it links to, and what it loads by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names."""
        given = {name: value or '' for name, value in attrs}
        self.anchors |= {given[name] for name in ('id', 'name') if name in given}
        if tag == 'a' and 'href' in given:
            self.links.append(given['href'])
        elif tag == 'link' and given.get('rel') in ('stylesheet', 'icon') or 'src' in given:
            self.loads.append(given.get('href') or given['src'])

    def fault(self, target: str, path: Path, pages: dict[Path, Page]) -> str:
        """Problem of a link; empty if it leads somewhere."""
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            return 'loads' if target in self.loads and parts.scheme != 'data' else ''
        other = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        other = other / 'index.html' if other.is_dir() else other
        if not other.exists():
            return 'no file'
        gone = parts.fragment and other in pages and unquote(parts.fragment) not in pages[other].anchors
        return 'no anchor' if gone else ''


def problems(folder: Path) -> list[str]:
    """One line per dead link of a site; 404.html is served under any address, its links are not looked at."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob('*.html'))}
    return [
        f'{path.relative_to(folder.resolve())}: {fault} {target}'
        for path, page in pages.items()
        for target in page.links + page.loads
        if path.name != '404.html' and (fault := page.fault(target, path, pages))
    ]


def main() -> None:
    """Print what is wrong with a site."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('site', type=Path)
    site = parser.parse_args().site
    found = problems(site) if (site / 'index.html').exists() else [f'{site}: no index.html']
    sys.exit('\n'.join(found) or None)


if __name__ == '__main__':
    main()
