//! Conditions over samples, in event time: rule text -> plan -> episodes. Pure: no I/O, no clock.
