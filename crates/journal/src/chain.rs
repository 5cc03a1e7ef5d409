//! The two chains of segment files, and which of them a reader wants.

use model::Lane;

/// A row of segment files with one kind of lanes. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Chain {
    /// Lanes `alarm` and `control`: never behind a backlog.
    Urgent = 0,
    /// Lanes `telemetry` and `bulk`.
    Regular = 1,
}

impl Chain {
    /// Both, in the order in which they are written and synced.
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Regular];

    /// The chain of a lane.
    #[must_use]
    pub fn of(lane: Lane) -> Self {
        if lane.is_urgent() { Self::Urgent } else { Self::Regular }
    }

    /// The chain for its stored number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its name in file names, metrics and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Regular => "regular",
        }
    }

    /// The name of its segment file with this number.
    #[must_use]
    pub fn segment_name(self, number: u64) -> String {
        format!("{}-{number:020}.segment", self.name())
    }

    /// Its place in arrays that hold something for each chain.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// Which chains a reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Chains {
    /// Both, in the order of `seq`.
    #[default]
    Both,
    /// Alarms and control only.
    Urgent,
    /// Telemetry and bulk only.
    Regular,
}

impl Chains {
    /// Whether it reads this chain.
    #[must_use]
    pub fn has(self, chain: Chain) -> bool {
        match self {
            Self::Both => true,
            Self::Urgent => chain == Chain::Urgent,
            Self::Regular => chain == Chain::Regular,
        }
    }
}
