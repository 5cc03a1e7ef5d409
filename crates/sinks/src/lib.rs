//! What rules tell other systems: republish and webhook, each a consumer with a position of its own.
