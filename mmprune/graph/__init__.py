"""Coupling in a network: channel groups, found by running it once, and checked."""

from mmprune.errors import GraphError
from mmprune.graph.find import find_groups
from mmprune.graph.group import ChannelGroup, Member, is_depthwise
from mmprune.graph.scope import Scope
from mmprune.graph.site import Branch, Site

__all__ = ['Branch', 'ChannelGroup', 'GraphError', 'Member', 'Scope', 'Site', 'find_groups', 'is_depthwise']
