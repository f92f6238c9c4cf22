//! Everything about the subscribers of one shard, as a value.

/// One of the 64 shards.
#[derive(Debug)]
pub struct Shard;
