//! The office recording as `godwit replay` sends it.

use crate::{decode, told};

#[test]
fn a_row_of_the_office_is_six_readings_at_its_own_time() {
    let row = r#"{"ts":1423072260000,"temperature":23.18,"humidity":27.272,"light":426,"co2":721.25,"humidityratio":0.00479298817650529,"occupancy":1}"#;
    assert_eq!(
        told(decode(row)),
        "office-1 2015-02-04T17:51:00Z 0 temperature=23.18 humidity=27.272 light=426 co2=721.25 \
         humidityratio=0.00479298817650529 occupancy=1"
    );
}
