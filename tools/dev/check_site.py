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
        """Read the page."""
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


def problems(folder: Path) -> list[str]:
    """One line per dead link of a site."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob('*.html'))}
    found = []
    for path, page in pages.items():
        if path.name == '404.html':  # is served under any address
            continue
        for target in page.links + page.loads:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.loads and parts.scheme != 'data':
                    found.append(f'{path.relative_to(folder.resolve())}: loads {target}')
                continue
            other = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            other = other / 'index.html' if other.is_dir() else other
            anchor = unquote(parts.fragment)
            if not other.exists():
                found.append(f'{path.relative_to(folder.resolve())}: no file {target}')
            elif anchor and other in pages and anchor not in pages[other].anchors:
                found.append(f'{path.relative_to(folder.resolve())}: no anchor {target}')
    return found


def main() -> None:
    """Print broken links, or that there are none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('site', type=Path)
    args = parser.parse_args()
    found = problems(args.site)
    if found or not (args.site / 'index.html').exists():
        sys.exit('\n'.join(found or [f'{args.site}: no index.html']))
    print(f'{args.site}: {len(list(args.site.rglob("*.html")))} pages, no dead link')


if __name__ == '__main__':
    main()
