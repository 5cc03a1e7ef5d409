//! Episodes and who hears of them: grouping, inhibition, silences, routes, receivers, the durable outbox.
