//! What people buy, click, say and order.

use crate::dice::{Ar, Hawkes, Rhythm, Switch};
use crate::frame::{
    CLOCK, Family, Frame, GLITCH, HOLIDAY, NOISIER, Step, Timing, ZERO, blip, ramp, shift, spell,
    swing,
};

pub const FAMILIES: &[Family] = &[
    Family {
        name: "click_price",
        interval_s: 3600,
        points: (1200, 2000),
        decimals: 4,
        timing: Timing::Regular,
        kinds: &[
            spell("bidding_war", 3.0, 30.0),
            blip("runaway_bid"),
            spell("budget_gone", 4.0, 24.0),
            GLITCH,
        ],
        build: click_price,
    },
    Family {
        name: "click_volume",
        interval_s: 3600,
        points: (1200, 2200),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("click_fraud", 1.0, 12.0),
            spell("campaign_off", 6.0, 40.0),
            swing("placement"),
            HOLIDAY,
        ],
        build: click_volume,
    },
    Family {
        name: "brand_mentions",
        interval_s: 300,
        points: (10000, 16500),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("viral", 3.0, 30.0),
            blip("celebrity"),
            shift("controversy"),
            spell("feed_broken", 2.0, 12.0),
        ],
        build: brand_mentions,
    },
    Family {
        name: "taxi_rides",
        interval_s: 1800,
        points: (5000, 11000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            HOLIDAY,
            spell("storm", 8.0, 36.0),
            spell("festival", 4.0, 10.0),
            spell("strike", 12.0, 40.0),
        ],
        build: taxi_rides,
    },
    Family {
        name: "payments",
        interval_s: 300,
        points: (3500, 9000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("provider_down", 0.2, 3.0),
            spell("card_testing", 0.3, 4.0),
            HOLIDAY,
            spell("sale", 4.0, 24.0),
            shift("checkout_bug"),
        ],
        build: payments,
    },
    Family {
        name: "sign_ups",
        interval_s: 3600,
        points: (1500, 4500),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("bots", 2.0, 20.0),
            spell("form_broken", 3.0, 24.0),
            swing("campaign"),
            CLOCK,
        ],
        build: sign_ups,
    },
    Family {
        name: "basket_value",
        interval_s: 900,
        points: (3000, 5000),
        decimals: 2,
        timing: Timing::Regular,
        kinds: &[
            shift("wrong_currency"),
            spell("price_error", 1.0, 10.0),
            ramp("discount_creep", 24.0, 96.0),
            NOISIER,
        ],
        build: basket_value,
    },
    Family {
        name: "support_calls",
        interval_s: 1800,
        points: (2500, 5500),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("incident", 2.0, 12.0),
            spell("line_dead", 1.0, 8.0),
            HOLIDAY,
            shift("confusing_letter"),
        ],
        build: support_calls,
    },
    Family {
        name: "spot_price",
        interval_s: 300,
        points: (3000, 5000),
        decimals: 4,
        timing: Timing::Regular,
        kinds: &[
            spell("shortage", 0.5, 12.0),
            swing("repriced"),
            blip("fat_finger"),
        ],
        build: spot_price,
    },
    Family {
        name: "parcel_scans",
        interval_s: 600,
        points: (3000, 6000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("belt_jam", 0.5, 4.0),
            spell("late_truck", 2.0, 6.0),
            CLOCK,
            ZERO,
        ],
        build: parcel_scans,
    },
    Family {
        name: "stream_viewers",
        interval_s: 300,
        points: (3000, 5000),
        decimals: 0,
        timing: Timing::Regular,
        kinds: &[
            spell("event", 1.0, 5.0),
            spell("player_broken", 0.5, 4.0),
            shift("lost_region"),
            HOLIDAY,
        ],
        build: viewers,
    },
];

/// The second-highest of a changing number of log-normal bids.
fn click_price(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let (value, spread) = (f.dice.magnitude(0.05, 3.0), f.dice.between(0.15, 0.6));
    let bidders = 3 + f.dice.index(9);
    let mut mood = Ar::new(f.keep(20.0));
    Box::new(move |f, i| {
        let heat =
            0.15 * mood.step(&mut f.dice) + 0.9 * f.force("bidding_war", i) + 0.2 * f.bump(i);
        let gone = (f.force("budget_gone", i) * 0.8).min(0.9);
        let present = ((bidders as f64) * (0.5 + 0.5 * f.demand(&rhythm, i)) * (1.0 - gone))
            .round()
            .max(1.0) as usize;
        let (mut first, mut second) = (0.0_f64, value * 0.2);
        for _ in 0..present {
            let bid = value * f.dice.lognormal(spread) * heat.exp();
            (first, second) = if bid > first {
                (bid, first.max(second))
            } else {
                (first, second.max(bid))
            };
        }
        second + 12.0 * value * f.force("runaway_bid", i)
    })
}

/// Views times a click rate that has its own good and bad days.
fn click_volume(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let scale = f.dice.magnitude(15.0, 4000.0);
    let mut rate = Ar::new(f.keep(30.0));
    Box::new(move |f, i| {
        let good =
            (0.15 * rate.step(&mut f.dice)).exp() * (1.0 + 0.6 * f.force("placement", i)).max(0.05);
        let on = 1.0 - 0.97 * f.force("campaign_off", i).min(1.0);
        let mean = scale
            * (f.demand(&rhythm, i) * good * on
                + 3.0 * f.force("click_fraud", i)
                + 0.8 * f.bump(i));
        let luck = f.dice.gamma(40.0);
        f.dice.poisson(mean * luck)
    })
}

/// People repeat each other: background talk, heavy-tailed triggers, a branching echo.
fn brand_mentions(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let mean = f.dice.magnitude(0.5, 60.0);
    let mut echo = Hawkes::new(f.dice.between(0.6, 0.9), f.dice.between(0.4, 0.8));
    let trigger = f.dice.magnitude(0.0005, 0.006);
    Box::new(move |f, i| {
        let talk = 0.4 * mean * f.demand(&rhythm, i);
        let spark = if f.dice.chance(trigger) {
            (mean + 2.0) * f.dice.pareto(1.6).min(12.0)
        } else {
            0.0
        };
        let storm = (mean + 3.0)
            * (3.0 * f.force("viral", i)
                + 25.0 * f.force("celebrity", i)
                + 0.8 * f.force("controversy", i));
        let heard = echo.step(&mut f.dice, talk + spark + storm);
        if f.force("feed_broken", i) > 0.0 {
            0.0
        } else {
            heard
        }
    })
}

/// A city's week: commuting, nights out at the weekend, rain that sends people into cars.
fn taxi_rides(f: &mut Frame) -> Step {
    let (work, fun) = (Rhythm::commute(&mut f.dice), Rhythm::consumer(&mut f.dice));
    let scale = f.dice.magnitude(400.0, 16000.0);
    let mut rain = Switch::new(90.0, 10.0);
    let mut noise = Ar::new(0.7);
    Box::new(move |f, i| {
        let wet = 1.0 + 0.12 * rain.step(&mut f.dice);
        let day = f.hours(i).div_euclid(24.0).rem_euclid(7.0);
        let out = if (4.0..6.0).contains(&day) { 0.9 } else { 0.55 };
        let city = 0.6 * f.demand(&work, i) + out * f.demand(&fun, i);
        let shut = 1.0
            - (0.9 * f.force("storm", i)).min(0.95)
            - (0.5 * f.force("strike", i)).min(0.5) * 0.9;
        let party = 0.9 * f.force("festival", i);
        (scale
            * (city * wet * shut.max(0.03) + party)
            * (1.0 + 0.03 * noise.step(&mut f.dice))
            * f.dice.gamma(900.0))
        .max(0.0)
    })
}

/// Orders that go through; a shop with payday and evening habits.
fn payments(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let scale = f.dice.magnitude(4.0, 800.0);
    let payday = f.dice.between(0.0, 0.25);
    Box::new(move |f, i| {
        let month = 1.0
            + if (f.hours(i) / 24.0).rem_euclid(30.4) < 2.0 {
                payday
            } else {
                0.0
            };
        let through = (1.0 - f.force("provider_down", i).min(1.0))
            * (1.0 - (0.4 * f.force("checkout_bug", i)).min(0.9));
        let wanted =
            f.demand(&rhythm, i) * month * (1.0 + 1.2 * f.force("sale", i) + 0.5 * f.bump(i));
        f.dice
            .poisson(scale * (wanted * through + 2.5 * f.force("card_testing", i)))
    })
}

/// Small counts, clumped by mentions elsewhere.
fn sign_ups(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let mean = f.dice.magnitude(2.0, 150.0);
    let mut word_of_mouth = Hawkes::new(0.7, 0.4);
    Box::new(move |f, i| {
        let works = 1.0 - f.force("form_broken", i).min(1.0) * 0.97;
        let campaign = (1.0 + 0.8 * f.force("campaign", i)).max(0.1);
        let base = 0.6 * mean * f.demand(&rhythm, i) * campaign
            + mean * (4.0 * f.force("bots", i) + f.bump(i));
        word_of_mouth.step(&mut f.dice, base * works)
    })
}

/// A mean over few or many baskets: it scatters most when the shop is empty.
fn basket_value(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let (price, orders, spread) = (
        f.dice.magnitude(8.0, 250.0),
        f.dice.magnitude(15.0, 500.0),
        f.dice.between(0.4, 0.9),
    );
    Box::new(move |f, i| {
        let count = f.dice.poisson(orders * f.demand(&rhythm, i)).max(1.0);
        let wrong = (1.0 + 0.25 * f.force("wrong_currency", i))
            * (1.0 - (0.5 * f.force("price_error", i)).min(0.9))
            * (1.0 - (0.3 * f.force("discount_creep", i)).min(0.8));
        let scatter = spread / count.sqrt() * f.dice.normal();
        price * wrong * f.slow(i).powf(0.3) * scatter.exp() * (1.0 + 0.3 * f.bump(i))
    })
}

/// Calls in office hours only; closed otherwise.
fn support_calls(f: &mut Frame) -> Step {
    let rhythm = Rhythm::office(&mut f.dice);
    let mean = f.dice.magnitude(8.0, 250.0);
    let (opens, closes) = (
        f.dice.between(6.5, 8.5).round(),
        f.dice.between(17.5, 21.0).round(),
    );
    let mut repeat = Hawkes::new(0.6, 0.3);
    Box::new(move |f, i| {
        let hour = f.hours(i).rem_euclid(24.0);
        let open = f64::from(u8::from((opens..closes).contains(&hour)));
        let trouble = 1.0 + 0.9 * f.force("confusing_letter", i) + f.bump(i);
        let wish = 0.7 * f.demand(&rhythm, i) * trouble + 2.5 * f.force("incident", i);
        let calls = repeat.step(&mut f.dice, mean * open * wish);
        if f.force("line_dead", i) > 0.0 {
            0.0
        } else {
            calls * open
        }
    })
}

/// A price that stands still, then jumps to where supply and demand meet.
fn spot_price(f: &mut Frame) -> Step {
    let list = f.dice.magnitude(0.02, 4.0);
    let mut pressure = Ar::new(f.keep(48.0));
    let moves = f.dice.magnitude(0.01, 0.15);
    let mut quoted = list * 0.4;
    let mut was = 0.0;
    Box::new(move |f, i| {
        let scarce = 0.25 * pressure.step(&mut f.dice) + 1.6 * f.force("shortage", i);
        let level = (1.0 + 0.5 * f.force("repriced", i)).max(0.2);
        let force = f.force("shortage", i) + f.force("repriced", i);
        if f.dice.chance(moves) || (force - was).abs() > 0.2 {
            quoted = 0.4 * list * level * scarce.exp();
            was = force;
        }
        quoted.min(3.0 * list) * (1.0 + 0.02 * f.bump(i)) + 4.0 * list * f.force("fat_finger", i)
    })
}

/// Trucks arrive by timetable, the belt works off the pile at its own pace.
fn parcel_scans(f: &mut Frame) -> Step {
    let trucks: Vec<f64> = (0..3 + f.dice.index(4))
        .map(|_| f.dice.between(4.0, 23.0))
        .collect();
    let (load, belt) = (f.dice.magnitude(500.0, 6000.0), f.dice.between(0.1, 0.3));
    let sunday = f.dice.between(0.0, 0.3);
    let mut pile = 0.0;
    Box::new(move |f, i| {
        let hours = f.hours(i) + 5.0 * f.force("clock", i) - 4.0 * f.force("late_truck", i);
        let day = hours.div_euclid(24.0).rem_euclid(7.0);
        let share = if day >= 6.0 { sunday } else { f.slow(i) };
        for truck in &trucks {
            if (hours - truck).rem_euclid(24.0) < f.step_h(i) {
                pile += load * share * f.dice.gamma(25.0);
            }
        }
        let pace = belt * load * (1.0 - f.force("belt_jam", i).min(1.0)) * f.dice.gamma(60.0);
        let scanned = pile.min(pace * (1.0 + 0.3 * f.bump(i)));
        pile -= scanned;
        f.dice.poisson(scanned)
    })
}

/// An audience that gathers by the hour and leaves when the programme changes.
fn viewers(f: &mut Frame) -> Step {
    let rhythm = Rhythm::consumer(&mut f.dice);
    let scale = f.dice.magnitude(300.0, 200_000.0);
    let mut shown = 0.5 * scale;
    let mut title = 1.0;
    Box::new(move |f, i| {
        if f.hours(i).rem_euclid(1.0) < f.step_h(i) {
            title = f.dice.lognormal(0.12);
        }
        let lost = 1.0 - (0.35 * f.force("lost_region", i)).min(0.9);
        let wanted = scale
            * (f.demand(&rhythm, i) * title * lost + 1.5 * f.force("event", i) + 0.5 * f.bump(i));
        let speed = if wanted > shown { 0.3 } else { 0.2 };
        shown += speed * (wanted - shown);
        let plays = 1.0 - 0.8 * f.force("player_broken", i).min(1.2);
        f.dice.poisson(shown * plays)
    })
}
