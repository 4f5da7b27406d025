//! A tree of pages by their tokens.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::PAGE;
use super::page::Page;
use crate::adapter::AdapterKey;

/// What the keys of all pages of a tree were computed with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Root {
    pub(super) adapters: AdapterKey,
    pub(super) rope_class: usize,
}

/// Trees of pages: the children of a page are those that came after it.
#[derive(Debug, Default)]
pub(super) struct Index {
    roots: HashMap<Root, Children>,
    nodes: HashMap<u64, Node>,
    /// Counts calls; also the next node.
    clock: u64,
    next: u64,
}

#[derive(Debug, Default)]
struct Children {
    /// Full pages by their tokens.
    whole: HashMap<Box<[u32]>, u64>,
    /// Pages with fewer tokens; none is the beginning of another child.
    partial: Vec<u64>,
}

impl Children {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.partial.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = u64> {
        self.whole.values().chain(&self.partial).copied()
    }
}

#[derive(Debug)]
struct Node {
    root: Root,
    parent: Option<u64>,
    tokens: Box<[u32]>,
    page: Arc<Page>,
    children: Children,
    /// When it was last found or kept.
    used: u64,
}

impl Index {
    /// Returns the number of pages.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns how many pages nobody else holds.
    pub(super) fn unused(&self) -> usize {
        self.nodes.values().filter(|n| n.is_unused()).count()
    }

    /// Returns the pages of the longest beginning of `ids`, and its tokens.
    pub(super) fn find(&mut self, root: &Root, ids: &[u32]) -> (Vec<Arc<Page>>, usize) {
        self.clock += 1;
        let (mut pages, mut found, mut at) = (Vec::new(), 0, None);
        while let Some(children) = self.children(root, at) {
            let rest = &ids[found..];
            let whole = rest.get(..PAGE).and_then(|page| children.whole.get(page));
            // Of a page that is not found, the tokens in common.
            let best = || {
                let common = |id| (self.nodes.get(&id).map_or(0, |n| n.common(rest)), id);
                children.all().map(common).max()
            };
            let Some((tokens, id)) = whole.map(|&id| (PAGE, id)).or_else(best) else {
                break;
            };
            let Some(node) = self.nodes.get_mut(&id).filter(|_| tokens > 0) else {
                break;
            };
            node.used = self.clock;
            pages.push(Arc::clone(&node.page));
            found += tokens;
            if tokens < PAGE {
                break;
            }
            at = Some(id);
        }
        (pages, found)
    }

    /// Keeps pages that follow one another, each with its tokens; only the last may have fewer than
    /// [`PAGE`]. Returns pages that others took the place of.
    pub(super) fn keep<'a>(
        &mut self,
        root: &Root,
        pages: impl Iterator<Item = (&'a [u32], &'a Arc<Page>)>,
    ) -> Vec<Arc<Page>> {
        self.clock += 1;
        let (mut replaced, mut parent) = (Vec::new(), None);
        for (tokens, page) in pages {
            let children = self.children(root, parent);
            let same = children.and_then(|children| match children.whole.get(tokens) {
                Some(&id) => Some(id),
                None if tokens.len() == PAGE => None,
                // One that goes on further holds these tokens too.
                None => {
                    let longer = |id: &u64| self.tokens(*id).starts_with(tokens);
                    children.all().find(longer)
                }
            });
            let id = match same {
                Some(id) => id,
                None => {
                    let shorter = |id: &u64| tokens.starts_with(self.tokens(*id));
                    let shorter: Vec<u64> = children.map_or_else(Vec::new, |c| {
                        c.partial.iter().copied().filter(shorter).collect()
                    });
                    replaced.extend(shorter.into_iter().filter_map(|id| self.remove(id)));
                    self.insert(root, parent, tokens, page)
                }
            };
            if let Some(node) = self.nodes.get_mut(&id) {
                node.used = self.clock;
            }
            parent = Some(id);
        }
        replaced
    }

    /// Gives up `n` pages that nobody else holds, or as many as there are: the least recently used
    /// first, none before those that came after it.
    pub(super) fn give_up(&mut self, n: usize) -> Vec<Arc<Page>> {
        if n == 0 {
            return Vec::new();
        }
        let leaf = |node: &Node| node.children.is_empty() && node.is_unused();
        let mut leaves: BinaryHeap<Reverse<(u64, u64)>> = self
            .nodes
            .iter()
            .filter(|(_, node)| leaf(node))
            .map(|(&id, node)| Reverse((node.used, id)))
            .collect();
        let mut pages = Vec::new();
        while pages.len() < n
            && let Some(Reverse((_, id))) = leaves.pop()
        {
            let parent = self.nodes.get(&id).and_then(|node| node.parent);
            pages.extend(self.remove(id));
            if let Some(id) = parent
                && let Some(node) = self.nodes.get(&id).filter(|n| leaf(n))
            {
                leaves.push(Reverse((node.used, id)));
            }
        }
        pages
    }

    fn tokens(&self, id: u64) -> &[u32] {
        self.nodes.get(&id).map_or(&[], |n| &n.tokens)
    }

    fn children(&self, root: &Root, parent: Option<u64>) -> Option<&Children> {
        match parent {
            Some(id) => self.nodes.get(&id).map(|n| &n.children),
            None => self.roots.get(root),
        }
    }

    fn insert(
        &mut self,
        root: &Root,
        parent: Option<u64>,
        tokens: &[u32],
        page: &Arc<Page>,
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        let siblings = match parent.and_then(|id| self.nodes.get_mut(&id)) {
            Some(node) => &mut node.children,
            None => self.roots.entry(root.clone()).or_default(),
        };
        if tokens.len() == PAGE {
            siblings.whole.insert(tokens.into(), id);
        } else {
            siblings.partial.push(id);
        }
        let node = Node {
            root: root.clone(),
            parent,
            tokens: tokens.into(),
            page: Arc::clone(page),
            children: Children::default(),
            used: self.clock,
        };
        self.nodes.insert(id, node);
        id
    }

    /// Removes a page that none follows.
    fn remove(&mut self, id: u64) -> Option<Arc<Page>> {
        let node = self.nodes.remove(&id)?;
        let siblings = match node.parent {
            Some(parent) => self.nodes.get_mut(&parent).map(|n| &mut n.children),
            None => self.roots.get_mut(&node.root),
        };
        if let Some(siblings) = siblings {
            if node.tokens.len() == PAGE {
                siblings.whole.remove(&node.tokens);
            } else {
                siblings.partial.retain(|other| *other != id);
            }
            if node.parent.is_none() && siblings.is_empty() {
                self.roots.remove(&node.root);
            }
        }
        Some(node.page)
    }
}

impl Node {
    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.page) == 1
    }

    /// Returns how many tokens at the beginning of `ids` are those of the page.
    fn common(&self, ids: &[u32]) -> usize {
        let pairs = self.tokens.iter().zip(ids);
        pairs.take_while(|(a, b)| a == b).count()
    }
}
