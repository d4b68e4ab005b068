"""Every channel group, its members, and why it would stay whole."""

from __future__ import annotations

from mmprune.analysis.context import Context
from mmprune.graph.find import find_groups
from mmprune.graph.verify import refuse_wrong_groups
from mmprune.report.tables import table


def groups(context: Context) -> tuple[str, dict]:
    """See the module.

    Returns:
        A table to print, and the same as plain data.
    """
    scope = context.scope
    found = find_groups(
        scope.model,
        scope.forward,
        scope.example,
        scope.targets,
        context.settings.get('pruner', {}).get('prune_interface', False),
    )
    refuse_wrong_groups(scope.model, scope.forward, scope.probe_input(), found)
    rows = [('group', 'width', 'members', 'prunable', 'remark')]
    for group in found:
        members = [member.name for member in group.members()[1:]]
        problem = group.site.problem if group.site else ''
        rows.append(
            (
                group.name,
                str(group.width),
                ', '.join(members[:4]) + (' …' if len(members) > 4 else ''),
                'yes' if group.prunable else 'no',
                group.reason or (problem and f'repair by measuring only: {problem}'),
            )
        )
    return table(rows), {
        'groups': [
            {
                'name': g.name,
                'width': g.width,
                'members': [m.name for m in g.members()],
                'reason': g.reason,
                'problem': g.site.problem if g.site else '',
            }
            for g in found
        ]
    }
