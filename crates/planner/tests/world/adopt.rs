//! The hands of an adoption: each effect as its events. The string is read and tried in one, and stored in the next.

use super::{FIRST_ROWS, Hand, Phase, Seen, Ser, Slot, Source, Tok, World, bit};

/// What a look into the Secret finds.
pub fn inspect(world: &World) -> Seen {
    match world.source {
        Source::Nothing => Seen::Missing,
        Source::Real(token) | Source::Forged(token) if !world.is_active(token) => {
            let _gone = token;
            Seen::Unknown
        }
        Source::Real(token) | Source::Forged(token) if world.rival => Seen::FitsRival(token),
        Source::Real(token) | Source::Forged(token) => Seen::Fits(token),
    }
}

/// Reads the string again and tries it; the claim is an event of its own. `blindly` with no call at all.
pub fn try_held(world: &mut World, replica: usize, hand: Hand, token: Tok, blindly: bool) {
    let found = inspect(world);
    let refused = match world.source {
        Source::Real(held) => held != token,
        Source::Forged(held) => held != token || !blindly,
        Source::Nothing => true,
    };
    if found != Seen::Fits(token) {
        world.replicas[replica].look = Some((found, world.tick));
    } else if refused {
        world.replicas[replica].look = Some((Seen::Refused, world.tick));
    } else {
        if !blindly {
            world.used(token);
        }
        // What was read is what is stored, whatever stands there by then.
        let forged = matches!(world.source, Source::Forged(_));
        world.replicas[replica].phase = if forged { Phase::HalfForged(hand, token) } else { Phase::Half(hand, token) };
    }
}

/// Creates the slot that is named after the token, already filled.
pub fn claim(world: &mut World, replica: usize, serial: Ser, token: Tok, forged: bool) {
    let own = world.slots.iter().any(|slot| slot.token == Some(token) && slot.adopted && !slot.retained);
    if world.rival {
        world.replicas[replica].look = Some((Seen::Claimed(token), world.tick));
        return;
    }
    if own || world.slot(serial).is_some() {
        return;
    }
    let incarnation = u8::try_from(world.closed.iter().filter(|closed| **closed == serial).count()).expect("few slots");
    world.insert_slot(Slot {
        serial,
        incarnation,
        token: Some(token),
        granted: FIRST_ROWS,
        committed: false,
        retained: false,
        condemned: false,
        adopted: true,
        forged,
    });
    world.ghosts.stored |= bit(token);
}

/// Looks whether the Secret still holds the string; the label is an event of its own.
pub fn look_for_the_string(world: &mut World, replica: usize, hand: Hand, token: Tok) {
    if world.source == Source::Real(token) {
        world.replicas[replica].look = Some((Seen::StillHeld(token), world.tick));
    } else {
        world.replicas[replica].phase = Phase::Half(hand, token);
    }
}

/// Whether one replica alone can take the token over from here.
pub fn is_possible(world: &World) -> bool {
    matches!(world.source, Source::Real(token) if world.is_active(token)
        && world.tokens[usize::from(token)].rows == world.object.rows)
        && !world.rival
}
