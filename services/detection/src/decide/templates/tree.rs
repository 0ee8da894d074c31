//! The way from a line to the few templates that it may belong to: severity,
//! number of tokens, first token, then a list. Its depth is fixed, and no
//! node has more than [`MAX_CHILDREN`] children beside the one that takes
//! whatever has no child of its own.
//!
//! Only the templates are stored. The tree is a function of them (each knows
//! whether it went to the common child) and is grown anew from them, so that
//! a restart changes no decision.

use super::mask::ANY;
use super::template::{Template, similarity};
use std::collections::BTreeMap;

/// Distinct first tokens below one node. Services begin their lines with a
/// few words; one that begins them with a name or another id that masking
/// does not know would otherwise get a template for each.
pub const MAX_CHILDREN: usize = 16;

type Node = BTreeMap<Box<str>, Vec<u8>>;

/// Slots of templates by severity, token count and first token.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tree(BTreeMap<(bool, usize), Node>);

/// Number of tokens and the first of them.
fn key(text: &str) -> (usize, &str) {
    let count = 1 + text.bytes().filter(|byte| *byte == b' ').count();
    (count, text.split(' ').next().unwrap_or_default())
}

impl Tree {
    pub fn grow(slots: &[Option<Template>]) -> Tree {
        let mut tree = Tree::default();
        for (slot, template) in (0_u8..).zip(slots) {
            if let Some(template) = template {
                tree.insert(slot, template.severe, template.loose, &template.text);
            }
        }
        tree
    }

    /// The slot of the template that fits the masked line best: most equal
    /// tokens, then fewest open positions, then the lower slot.
    pub fn find(&self, slots: &[Option<Template>], severe: bool, masked: &str) -> Option<u8> {
        let (count, first) = key(masked);
        let node = self.0.get(&(severe, count))?;
        let leaves = [node.get(first), node.get(ANY)];
        let mut best: Option<(usize, usize, u8)> = None;
        for slot in leaves.into_iter().flatten().flatten() {
            let Some(template) = &slots[usize::from(*slot)] else {
                continue;
            };
            let Some((equal, open)) = similarity(&template.text, masked, count) else {
                continue;
            };
            if best.is_none_or(|(most, least, _)| (equal, least) > (most, open)) {
                best = Some((equal, open, *slot));
            }
        }
        best.map(|(_, _, slot)| slot)
    }

    /// Whether a new template of this text has no child of its own.
    pub fn is_loose(&self, severe: bool, masked: &str) -> bool {
        let (count, first) = key(masked);
        self.0.get(&(severe, count)).is_some_and(|node| {
            !node.contains_key(first)
                && node.len() - usize::from(node.contains_key(ANY)) >= MAX_CHILDREN
        })
    }

    pub fn insert(&mut self, slot: u8, severe: bool, loose: bool, text: &str) {
        let (count, first) = key(text);
        let child = if loose { ANY } else { first };
        let node = self.0.entry((severe, count)).or_default();
        let leaf = node.entry(child.into()).or_default();
        let place = leaf.partition_point(|other| *other < slot);
        leaf.insert(place, slot);
    }

    pub fn remove(&mut self, slot: u8, template: &Template) {
        let (count, first) = key(&template.text);
        let child = if template.loose { ANY } else { first };
        let Some(node) = self.0.get_mut(&(template.severe, count)) else {
            return;
        };
        if let Some(leaf) = node.get_mut(child) {
            leaf.retain(|other| *other != slot);
            if leaf.is_empty() {
                node.remove(child);
            }
        }
        if node.is_empty() {
            self.0.remove(&(template.severe, count));
        }
    }

    /// The most children of any node, the common one included.
    #[cfg(test)]
    pub fn widest(&self) -> usize {
        self.0.values().map(BTreeMap::len).max().unwrap_or(0)
    }
}
