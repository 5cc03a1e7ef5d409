//! The list of devices.

use catalog::WriteError;
use identity::{Actor, ChangeError, DeviceFilter, DeviceState, PAGE_DEVICES_MAX, Page};
use model::{DeviceName, Kind};

use crate::{fresh, name};

#[tokio::test]
async fn a_device_is_added_once_and_gets_a_password_once() {
    let (fixture, _dir) = fresh();
    let identity = &fixture.identity;
    let device = name("office-1");
    identity.add_device(&Actor::inside(), &device).await.expect("added");
    let again = identity.add_device(&Actor::inside(), &device).await.expect_err("added before");
    assert_eq!(
        (again.kind(), again.to_string().as_str()),
        (Kind::Conflict, "device `office-1` exists already")
    );
    let shown = identity.device(&device).await.expect("read").expect("there");
    assert_eq!((shown.state(), shown.has_password), (DeviceState::Active, false));

    let password = identity.add_device_with_password(&Actor::inside(), &device).await.expect("it had none");
    let second = identity.add_device_with_password(&Actor::inside(), &device).await.err();
    assert_eq!(second, Some(ChangeError::Exists(device.clone())));
    assert!(
        identity.authenticate(Some(&device), Some(password.reveal().as_bytes())).is_ok(),
        "adding twice breaks nothing that works"
    );
    assert!(identity.device(&device).await.expect("read").expect("there").has_password);
}

#[tokio::test]
async fn a_device_that_is_not_there_gets_no_password() {
    let (fixture, _dir) = fresh();
    let error =
        fixture.identity.set_password(&Actor::inside(), &name("ghost"), None).await.expect_err("unknown");
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::NotFound, "there is no device `ghost`"));
    assert!(error.hint().is_some());
    assert_eq!(fixture.identity.device(&name("ghost")).await, Ok(None));
}

#[tokio::test]
async fn pages_together_are_all_devices_once_and_in_order() {
    let (fixture, _dir) = fresh();
    let identity = &fixture.identity;
    let mut names: Vec<DeviceName> = (0..25).map(|n| name(&format!("d{n}"))).collect();
    names.push(name("other"));
    let by = Actor::inside();
    let adding = names.iter().map(|name| identity.add_device(&by, name));
    futures::future::join_all(adding).await.into_iter().collect::<Result<Vec<_>, _>>().expect("added");
    names.sort();

    let mut listed = Vec::new();
    let mut page = Page { after: None, limit: 7 };
    loop {
        let got = identity.devices(DeviceFilter::default(), page.clone()).await.expect("read");
        assert!(got.devices.len() <= 7);
        listed.extend(got.devices.into_iter().map(|device| device.name));
        match got.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert_eq!(listed, names);

    let ask = |filter: DeviceFilter| async move {
        let all = Page { limit: usize::MAX, ..Page::default() };
        identity.devices(filter, all).await.expect("read").devices.len()
    };
    let prefix = |text: &str| DeviceFilter { name_prefix: Some(text.to_owned()), ..DeviceFilter::default() };
    assert_eq!(ask(prefix("d1")).await, 11);
    assert_eq!(ask(prefix("D1")).await, 0);
    assert_eq!(ask(prefix("%")).await, 0, "nothing in a prefix is a wildcard");
    assert_eq!(ask(DeviceFilter { state: Some(DeviceState::Seen), ..DeviceFilter::default() }).await, 0);
    assert_eq!(ask(DeviceFilter { state: Some(DeviceState::Active), ..DeviceFilter::default() }).await, 26);
    assert_eq!(PAGE_DEVICES_MAX, 1000);
}

#[tokio::test]
async fn a_closed_catalog_is_said() {
    let (fixture, _dir) = fresh();
    fixture.catalog.close().await;
    let error = fixture.identity.add_device(&Actor::inside(), &name("late")).await.expect_err("closed");
    assert_eq!((error.kind(), error), (Kind::Unavailable, ChangeError::Catalog(WriteError::Closed)));
    assert!(fixture.identity.devices(DeviceFilter::default(), Page::default()).await.is_err());
}
