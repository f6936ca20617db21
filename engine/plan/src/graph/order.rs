//! The order in which stages can be expanded, and the ring where there is none. Knows names and edges alone.

use std::collections::HashMap;

use petgraph::{
    algo::{kosaraju_scc, toposort},
    graph::DiGraph,
};

/// Stages sorted so that what a stage reads stands before it.
///
/// `reads[i]` holds the stages that stage `i` reads.
///
/// # Errors
/// The stages of one ring, in the order in which they read each other.
pub fn order(reads: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut graph = DiGraph::<usize, ()>::with_capacity(reads.len(), reads.len());
    let nodes: Vec<_> = (0..reads.len()).map(|stage| graph.add_node(stage)).collect();
    for (stage, inputs) in reads.iter().enumerate() {
        for input in inputs {
            graph.update_edge(nodes[*input], nodes[stage], ());
        }
    }
    if let Ok(sorted) = toposort(&graph, None) {
        return Ok(sorted.into_iter().map(|node| graph[node]).collect());
    }
    let in_ring =
        |members: &Vec<_>| members.len() > 1 || members.first().is_some_and(|node| graph.contains_edge(*node, *node));
    let component = kosaraju_scc(&graph).into_iter().find(in_ring).unwrap_or_default();
    let within: Vec<usize> = component.into_iter().map(|node| graph[node]).collect();
    Err(ring(reads, &within))
}

/// One ring through stages that all reach each other.
fn ring(reads: &[Vec<usize>], within: &[usize]) -> Vec<usize> {
    let Some(first) = within.iter().min() else { return Vec::new() };
    let mut walk = vec![*first];
    let mut seen = HashMap::from([(*first, 0)]);
    loop {
        let last = walk[walk.len() - 1];
        let Some(next) = reads[last].iter().find(|input| within.contains(input)) else { return walk };
        if let Some(start) = seen.get(next) {
            return walk[*start..].to_vec();
        }
        seen.insert(*next, walk.len());
        walk.push(*next);
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn inputs_come_first() {
        let reads = vec![vec![1, 2], vec![2], vec![]];
        assert_eq!(order(&reads).unwrap(), vec![2, 1, 0]);
    }

    #[test]
    fn a_ring_is_named() {
        let reads = vec![vec![], vec![3, 0], vec![1], vec![2]];
        assert_eq!(order(&reads).unwrap_err(), vec![1, 3, 2]);
        assert_eq!(order(&[vec![0]]).unwrap_err(), vec![0]);
    }

    #[test]
    fn long_chains_need_no_deep_stack() {
        let reads: Vec<Vec<usize>> = (0..100_000).map(|i: usize| i.checked_sub(1).into_iter().collect()).collect();
        assert_eq!(order(&reads).unwrap().len(), 100_000);
    }
}
