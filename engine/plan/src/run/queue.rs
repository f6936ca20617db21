//! The members that wait, are ready, or will never be: ready ones with the longest path behind them come first. Knows
//! edges and what was chosen; does not know how a member is done.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
};

use spec::job::Failure;

use crate::{
    graph::NodeId,
    state::{Records, State},
};

/// The order in which members are done.
pub struct Queue<'a> {
    state: &'a State<'a>,
    wanted: &'a [NodeId],
    readers: Vec<Vec<usize>>,
    missing: Vec<usize>,
    height: Vec<usize>,
    needed: Vec<bool>,
    ready: BinaryHeap<(usize, Reverse<usize>)>,
    /// Handed out, or never to be.
    over: Vec<bool>,
}

impl<'a> Queue<'a> {
    /// All that is wanted, and what it needs.
    pub fn new(state: &'a State<'a>, wanted: &'a [NodeId], records: &Records) -> Result<Self, Failure> {
        let graph = state.graph;
        let count = graph.nodes.len();
        let mut readers = vec![Vec::new(); count];
        let mut missing = vec![0; count];
        for (reader, node) in graph.nodes.iter().enumerate() {
            let needs: HashSet<usize> = node.needs().map(|id| id.0).collect();
            missing[reader] = needs.len();
            for input in needs {
                readers[input].push(reader);
            }
        }
        let mut height = vec![0; count];
        for place in (0..count).rev() {
            height[place] = readers[place].iter().map(|reader: &usize| height[*reader] + 1).max().unwrap_or(0);
        }
        let (needed, over) = (vec![false; count], vec![false; count]);
        let mut queue = Self { state, wanted, readers, missing, height, needed, ready: BinaryHeap::new(), over };
        queue.look_again(records)?;
        Ok(queue)
    }

    /// The next member that can begin.
    pub fn pop(&mut self) -> Option<NodeId> {
        loop {
            let (_, Reverse(place)) = self.ready.pop()?;
            if !std::mem::replace(&mut self.over[place], true) {
                return Some(NodeId(place));
            }
        }
    }

    /// A member is there, or was dropped: what waited for it alone is ready.
    ///
    /// # Errors
    /// When what a `select` stage chose cannot be read.
    pub fn finished(&mut self, id: NodeId, records: &Records) -> Result<(), Failure> {
        for index in 0..self.readers[id.0].len() {
            let reader = self.readers[id.0][index];
            self.missing[reader] -= 1;
            self.offer(reader);
        }
        let chooses =
            |reader: &usize| self.state.graph.nodes[*reader].conditions.iter().any(|condition| condition.select == id);
        if self.readers[id.0].iter().any(chooses) { self.look_again(records) } else { Ok(()) }
    }

    /// Members that will never be ready because this one failed.
    pub fn failed(&mut self, id: NodeId) -> Vec<NodeId> {
        let mut open = vec![id.0];
        let mut lost = Vec::new();
        while let Some(place) = open.pop() {
            for reader in &self.readers[place] {
                if !std::mem::replace(&mut self.over[*reader], true) {
                    if self.needed[*reader] {
                        lost.push(NodeId(*reader));
                    }
                    open.push(*reader);
                }
            }
        }
        lost.sort_unstable();
        lost
    }

    /// The members that are needed, as far as is known by now.
    pub fn needed(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.needed.iter().enumerate().filter(|(_, needed)| **needed).map(|(place, _)| NodeId(place))
    }

    fn offer(&mut self, place: usize) {
        if self.missing[place] == 0 && self.needed[place] && !self.over[place] {
            self.ready.push((self.height[place], Reverse(place)));
        }
    }

    /// Finds what is needed by what is known to be chosen.
    fn look_again(&mut self, records: &Records) -> Result<(), Failure> {
        let needed = self.state.needed(self.wanted, records)?;
        for (place, now) in needed.into_iter().enumerate() {
            if now && !std::mem::replace(&mut self.needed[place], true) {
                self.offer(place);
            }
        }
        Ok(())
    }
}
