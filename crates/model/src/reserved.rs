//! The topics that belong to Godwit itself: who may publish to them, and who may subscribe.
//!
//! The table of `$aws` topics, asked by every door before a policy is. Not here: what a room answers. The law it
//! keeps: a topic that starts with `$` and is not in the table is refused at the door, so that a device with a
//! misspelt topic is told rather than ignored. Rooms that answer such topics add their row.

/// What becomes of a publish or a will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishVerdict {
    /// An ordinary topic: policies decide.
    Ordinary,
    /// `$SYS/`: acknowledge, count, drop; a Mosquitto bridge sends its state there and must not be cut for it.
    Drop,
    /// A question that Godwit answers to this connection alone, if policies permit: it goes into no journal.
    Question,
    /// Refuse with this reason.
    Refuse(&'static str),
}

/// What becomes of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeVerdict {
    /// An ordinary filter, or one that a row permits: policies decide.
    Ordinary,
    /// Refuse with this reason.
    Refuse(&'static str),
}

/// Who may do something on a reserved topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// No one.
    Nobody,
    /// Whom policies permit.
    Permitted,
}

/// Who hears what a room answers on a reserved topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Every subscriber.
    Everyone,
    /// The connection that asked, alone.
    Requester,
}

/// One kind of reserved topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The topics, as an MQTT filter.
    pub filter: &'static str,
    /// Who may publish to them.
    pub publish: Who,
    /// Who may subscribe to them.
    pub subscribe: Who,
    /// Who hears what is said on them.
    pub audience: Audience,
    /// What a client is told that may not.
    pub refusal: &'static str,
}

/// The reserved topics, first match wins. The rows of shadows, jobs and provisioning stand before the last one.
pub const TABLE: &[Row] = &[
    Row {
        filter: CERTIFICATE_RENEWAL,
        publish: Who::Permitted,
        subscribe: Who::Nobody,
        audience: Audience::Requester,
        refusal: ANSWERS_BELOW,
    },
    Row {
        filter: "$aws/things/+/certificates/renew/+",
        publish: Who::Nobody,
        subscribe: Who::Permitted,
        audience: Audience::Requester,
        refusal: GODWIT_ALONE,
    },
    Row {
        filter: CERTIFICATE_CREATE,
        publish: Who::Permitted,
        subscribe: Who::Nobody,
        audience: Audience::Requester,
        refusal: ANSWERS_BELOW,
    },
    Row {
        filter: "$aws/certificates/create/json/+",
        publish: Who::Nobody,
        subscribe: Who::Permitted,
        audience: Audience::Requester,
        refusal: GODWIT_ALONE,
    },
    Row {
        filter: CERTIFICATE_CREATE_FROM_CSR,
        publish: Who::Permitted,
        subscribe: Who::Nobody,
        audience: Audience::Requester,
        refusal: ANSWERS_BELOW,
    },
    Row {
        filter: "$aws/certificates/create-from-csr/json/+",
        publish: Who::Nobody,
        subscribe: Who::Permitted,
        audience: Audience::Requester,
        refusal: GODWIT_ALONE,
    },
    Row {
        filter: PROVISION,
        publish: Who::Permitted,
        subscribe: Who::Nobody,
        audience: Audience::Requester,
        refusal: ANSWERS_BELOW,
    },
    Row {
        filter: "$aws/provisioning-templates/+/provision/json/+",
        publish: Who::Nobody,
        subscribe: Who::Permitted,
        audience: Audience::Requester,
        refusal: GODWIT_ALONE,
    },
    Row {
        filter: "$aws/#",
        publish: Who::Nobody,
        subscribe: Who::Nobody,
        audience: Audience::Requester,
        refusal: "this `$aws/` topic is reserved, and none that this version answers",
    },
];

/// Where a device asks for a new certificate: `$aws/things/{device}/certificates/renew`; answered on `accepted` or `rejected`
/// below it.
pub const CERTIFICATE_RENEWAL: &str = "$aws/things/+/certificates/renew";

/// Where a device without an identity asks for a key and a certificate.
pub const CERTIFICATE_CREATE: &str = "$aws/certificates/create/json";

/// The same, for a key of its own.
pub const CERTIFICATE_CREATE_FROM_CSR: &str = "$aws/certificates/create-from-csr/json";

/// Where it becomes a device, by the template in the topic.
pub const PROVISION: &str = "$aws/provisioning-templates/+/provision/json";

const ANSWERS_BELOW: &str = "the answers come on `accepted` and `rejected` below it: subscribe to these";
const GODWIT_ALONE: &str = "Godwit alone answers here";

/// What is told of a topic with `$` that is in no table.
const UNKNOWN: &str = "topics that start with `$` are reserved; choose another first character";

/// What becomes of a publish to `topic`, from anyone.
#[must_use]
pub fn publish(topic: &str) -> PublishVerdict {
    // One comparison for nearly every message.
    if !topic.starts_with('$') {
        return PublishVerdict::Ordinary;
    }
    if topic == "$SYS" || topic.starts_with("$SYS/") {
        return PublishVerdict::Drop;
    }
    match TABLE.iter().find(|row| covers(row.filter, topic)) {
        Some(Row { publish: Who::Permitted, audience: Audience::Requester, .. }) => PublishVerdict::Question,
        Some(Row { publish: Who::Permitted, .. }) => PublishVerdict::Ordinary,
        Some(row) => PublishVerdict::Refuse(row.refusal),
        None => PublishVerdict::Refuse(UNKNOWN),
    }
}

/// What becomes of a subscription to `filter`, from anyone; of a shared one (`$share/group/filter`, MQTT 5.0,
/// section 4.8.2) the filter inside is judged.
///
/// `$SYS/` may be subscribed by whom policies permit: the MQTT door tells its numbers there.
#[must_use]
pub fn subscribe(filter: &str) -> SubscribeVerdict {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    let filter = shared.map_or(filter, |(_, inside)| inside);
    if !filter.starts_with('$') || filter == "$SYS" || filter.starts_with("$SYS/") {
        return SubscribeVerdict::Ordinary;
    }
    match TABLE.iter().find(|row| covers(row.filter, filter)) {
        Some(Row { subscribe: Who::Permitted, .. }) => SubscribeVerdict::Ordinary,
        Some(row) => SubscribeVerdict::Refuse(row.refusal),
        None => SubscribeVerdict::Refuse(UNKNOWN),
    }
}

/// Whether every topic that `wanted` (a topic, or a filter) stands for is one of `filter`'s.
fn covers(filter: &str, wanted: &str) -> bool {
    let mut filter = filter.split('/');
    let mut wanted = wanted.split('/');
    loop {
        match (filter.next(), wanted.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(own), Some(level)) if own == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_topics_are_refused_and_sys_is_dropped() {
        let check = |topic, expect: fn(PublishVerdict) -> bool| {
            assert!(expect(publish(topic)), "{topic}: {:?}", publish(topic));
        };
        let ordinary = |verdict| verdict == PublishVerdict::Ordinary;
        let refused = |verdict| matches!(verdict, PublishVerdict::Refuse(_));
        let dropped = |verdict| verdict == PublishVerdict::Drop;
        check("dt/office-1/climate", ordinary);
        check("a/$aws/b", ordinary);
        check("/$SYS", ordinary);
        check("$SYS/broker/connection/x/state", dropped);
        check("$SYS", dropped);
        check("$SYSTEM/x", refused);
        check("$aws/things/office-1/shadow/update", refused);
        check("$aws", refused);
        check("$share/g/a", refused);
        check("$", refused);
    }

    #[test]
    fn reserved_filters_are_refused_whether_shared_or_not() {
        let refused = |filter| matches!(subscribe(filter), SubscribeVerdict::Refuse(_));
        for filter in ["$aws/#", "$aws/things/+/shadow/#", "$share/g/$aws/#", "$queue/a", "$share/g", "$+/a"]
        {
            assert!(refused(filter), "{filter}");
        }
        for filter in ["#", "+/a", "$SYS/#", "$share/g/dt/#", "$share/g/$SYS/#", "a/$aws"] {
            assert!(!refused(filter), "{filter}");
        }
    }

    #[test]
    fn a_row_covers_only_what_is_its_own() {
        assert!(covers("$aws/things/+/shadow/#", "$aws/things/a/shadow/update"));
        assert!(covers("$aws/things/+/shadow/#", "$aws/things/+/shadow/#"));
        assert!(!covers("$aws/things/+/shadow/update", "$aws/things/#"));
        assert!(!covers("$aws/things/+", "$aws/things/#"));
        assert!(!covers("$aws/things/+", "$aws/things/a/b"));
    }
}
