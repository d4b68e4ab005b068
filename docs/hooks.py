"""What the site needs beyond Markdown: formulas without scripts, and links to files outside docs/.

Pages are written so that they read well in a repository browser too: formulas in dollars, links to the files where
they are. For the site, formulas become MathML, every configs/*/README.md becomes a page, and links to other files of
the repository, which a site cannot hold, become plain paths.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FENCE = re.compile(r'(^ *```.*?^ *```)', re.DOTALL | re.MULTILINE)
CODE = re.compile(r'(^ *```.*?^ *```|`[^`\n]+`)', re.DOTALL | re.MULTILINE)
FORMULA = re.compile(r'\$\$(.+?)\$\$|\$(?! )([^$\n]+?)(?<! )\$', re.DOTALL)
LINK = re.compile(r'(!?)\[([^\]]*)\]\(([^)\s]+)\)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every README below configs/."""
    for readme in sorted(Path(config.config_file_path).parent.glob('configs/*/README.md')):
        files.append(File.generated(config, f'configs/{readme.parent.name}.md', content=readme.read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite formulas and links outside code."""
    root = Path(config.config_file_path).parent
    where = page.file.src_uri
    origin = f'{where.removesuffix(".md")}/README.md' if where.startswith('configs/') else f'docs/{where}'
    markdown = _outside(
        FENCE, markdown, lambda part: LINK.sub(lambda match: link(match, origin, where, root, files), part)
    )
    return _outside(CODE, markdown, lambda part: FORMULA.sub(mathml, part))


def _outside(what: re.Pattern, text: str, change: Callable[[str], str]) -> str:
    """Change the text outside of what a pattern with one group finds."""
    parts = what.split(text)
    parts[::2] = map(change, parts[::2])
    return ''.join(parts)


def mathml(match: re.Match) -> str:
    """A formula that browsers show themselves."""
    block, inline = match.groups()
    text = convert((block or inline).strip(), display='block' if block else 'inline')
    if '\\' in text:
        raise ValueError(f'a command of this formula is not known: {match[0]}')
    return text


def link(match: re.Match, origin: str, where: str, root: Path, files: Files) -> str:
    """A link to a page of the site, or the path of a file that is none.

    Args:
        match: Of ``LINK``.
        origin: The file that the text stands in, from the repository's root.
        where: The page, from docs/.
        root: The repository.
        files: Those of the site.
    """
    mark, text, target = match.groups()
    if re.match(r'[a-z]+:|#', target):
        return match[0]
    path, _, anchor = target.partition('#')
    found = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    folder = re.fullmatch(r'configs/(\w+)(/README\.md)?', found)
    page = f'configs/{folder[1]}.md' if folder else 'index.md' if found == 'README.md' else found.removeprefix('docs/')
    if files.get_file_from_path(page) is not None:
        relative = posixpath.relpath(page, posixpath.dirname(where) or '.')
        return f'{mark}[{text}]({relative}{"#" + anchor if anchor else ""})'
    if not (root / found).exists():
        return match[0]  # mkdocs complains
    return f'`{found}`' if text.strip('`') in found else f'{text} (`{found}`)'
