//! The web UI: open where the visitor gets something without a login.

use http::Method;

use super::*;
use crate::registry::Surface;

#[test]
fn the_ui_takes_a_login_where_nothing_is_for_the_visitor() {
    let surface = Surface { ui: true, ..Surface::from("/token") };
    let visit = |grants: &Access, place: &Place, principal: &Principal| {
        let route = Route::parse(&Method::GET, "/index.html", None, surface).unwrap();
        Policy::compile(grants).authorize(place.asker(principal), route).map(|permit| permit.grant().is_none())
    };
    let anonymous = Principal::anonymous();
    let place = Place::default();
    let login = Err(Denial::Challenge { scope: None, narrow: false });

    let private = access(vec![grant("homes", &["home/$user/**"], &[Pull], &[Subject::Authenticated])]);
    assert_eq!(visit(&private, &place, &anonymous), login);
    assert_eq!(visit(&private, &place, &user("alice", &[])), Ok(true));
    assert_eq!(visit(&access(vec![]), &place, &anonymous), login);

    assert_eq!(visit(&example(), &place, &anonymous), Ok(true), "public images");
    let mut inside = grant("public inside", &["library/**"], &[Pull], &[Subject::Anyone]);
    inside.from = vec!["10.0.0.0/8".parse().unwrap()];
    inside.registries = vec![host("registry.example.com")];
    let inside = access(vec![inside]);
    assert_eq!(visit(&inside, &place, &anonymous), Ok(true));
    assert_eq!(visit(&inside, &Place::new(&["registry.example.com"], "192.0.2.7"), &anonymous), login);
    assert_eq!(visit(&inside, &Place::new(&["hub.example.com"], "10.1.2.3"), &anonymous), login);
}
