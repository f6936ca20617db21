//! One constant: from which sources a program was built. `engine` and `engine-worker` compare theirs before they work
//! together. A crate of its own, so that a changed source rebuilds the two programs and nothing between.

/// A digest of the sources of all engine crates and of `Cargo.lock`: equal in programs built from the same tree.
pub const BUILD_ID: &str = env!("ENGINE_BUILD_ID");

#[cfg(test)]
mod tests {
    use super::BUILD_ID;

    #[test]
    fn the_build_id_is_a_digest() {
        assert_eq!(BUILD_ID.len(), 16);
        assert!(BUILD_ID.chars().all(|c| c.is_ascii_hexdigit()), "{BUILD_ID}");
    }
}
