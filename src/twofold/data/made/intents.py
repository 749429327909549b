"""What a customer of a bank wants: 40 intents, written from frames, slots, paraphrases and typing errors.

A request is a frame around one of an intent's paraphrases, with slots filled in. The frames of the test, and those of
the validation part, never occur in training; the paraphrases do, so that what is asked of a model is to find the
intent in wording that it has not seen.
"""

from __future__ import annotations

import numpy as np

from twofold.data.made.labelled import Example, dealt, gathered, pick, sentence
from twofold.data.rows import Rows

_WRITTEN = """
activate card
    activate my new {card}
    switch on the {card} I just got
    get my {card} working
    start using my {card}
block card
    block my {card}
    freeze my {card} at once
    stop all payments with my {card}
    lock the {card}
card lost
    report a lost {card}
    say that I lost my {card} {place}
    tell you my {card} is gone
    report that my {card} went missing
card stolen
    report a stolen {card}
    say that somebody took my {card} {place}
    tell you a thief has my {card}
    report a theft of my {card}
card arrival
    find out when my {card} will arrive
    know where my new {card} is
    track the delivery of my {card}
    ask why my {card} is not here yet
card expired
    replace a {card} that has expired
    renew my {card} that is out of date
    get a new {card} since the old one ran out
    extend a {card} that is no longer valid
card swallowed
    get back my {card} from the machine
    report that the machine kept my {card}
    say the cash machine swallowed my {card}
    free my {card} that is stuck in the machine
change pin
    change my pin
    set a new pin for my {card}
    choose another pin
    pick a different pin code
forgot pin
    recover my forgotten pin
    get a reminder of my pin
    see my pin since I do not remember it
    find my pin that slipped my mind
pin blocked
    unblock my pin
    reset the pin that I typed wrong three times
    lift the block after too many wrong pins
    unlock my pin again
order card
    order an extra {card}
    get a second {card} for {person}
    request another {card}
    add one more {card} to my account
open account
    open an account
    start a new savings account
    become a customer
    set up a second account
close account
    close my account
    end my contract with you
    delete my account
    leave the bank for good
check balance
    see my balance
    know how much money I have
    check what is left on my account
    find out my current balance
statement
    get a statement for {month}
    download my statements
    have last year's statement sent to me
    print the account statement of {month}
change address
    change my address
    tell you that I moved house
    update where I live
    correct the street in my profile
change phone
    change my phone number
    register a new mobile number
    update the number you call me on
    replace my old telephone number
change name
    change my last name
    update my name after the wedding
    correct the spelling of my name
    take my partner's name in your records
reset password
    reset my password
    get back in since I forgot the password
    choose a new password
    recover the login to my account
app problem
    fix the app that keeps crashing
    report that your app will not open
    get help with the broken app
    say that the app shows an error
make transfer
    send {amount} to {person}
    transfer {amount} to another account
    move {amount} to {person}
    wire {amount} to {person}
cancel transfer
    cancel the transfer of {amount}
    call back {amount} that I sent to {person}
    undo my last transfer
    stop a transfer that was a mistake
transfer pending
    know why my transfer is still pending
    ask why {person} has not received {amount}
    see what holds up my transfer
    find out how long a transfer takes
transfer failed
    know why my transfer failed
    ask why the transfer of {amount} was rejected
    learn what went wrong when I sent {amount}
    see why my transfer was declined
standing order
    set up a standing order of {amount}
    pay {person} {amount} every month
    create a monthly payment
    repeat a payment to {person} automatically
direct debit
    dispute a direct debit
    get back {amount} that a company collected
    refuse a direct debit of {amount}
    return a debit that I did not allow
card declined
    know why my {card} was declined {place}
    ask why the payment with my {card} was refused
    find out why the shop turned down my {card}
    see why my {card} did not work {place}
unknown payment
    dispute a payment that I do not recognise
    report {amount} that I never spent
    ask about a strange payment on my {card}
    question a charge that I did not make
charged twice
    report that I was charged twice
    get back a payment that was taken two times
    point out a double charge of {amount}
    say that {amount} left my account twice
refund missing
    ask where my refund is
    know when the shop's refund of {amount} will come
    trace a refund that has not arrived
    find my missing refund
cash fee
    know what it costs to withdraw cash
    ask about the fee for taking out {amount}
    see why I paid a fee at the machine
    learn what a cash machine charges
wrong cash
    report that the machine gave me too little
    say that I asked for {amount} and got less
    claim the missing notes from a cash machine
    complain that the machine paid out the wrong sum
exchange rate
    know today's exchange rate
    ask what rate you use for {currency}
    see how many {currency} I get for {amount}
    check the rate for changing {currency}
abroad
    use my {card} abroad
    know where in the world my {card} works
    pay with my {card} on holiday
    take my {card} on a trip to another country
raise limit
    raise my daily limit
    spend more than {amount} a day
    increase how much I may withdraw
    get a higher limit on my {card}
loan
    apply for a loan of {amount}
    borrow {amount}
    get credit for a car
    take out a loan
mortgage
    finance a house
    get a mortgage
    borrow money to buy a flat
    talk about paying for a home
interest
    know the interest on my savings
    ask what my savings earn
    see the interest rate for savers
    learn how much interest you pay
find branch
    find the nearest branch
    know when your office opens
    visit a branch near {town}
    ask for the address of your branch in {town}
human agent
    talk to a human
    speak with a real person
    be put through to an agent
    reach somebody from your staff
"""


def _read(written: str) -> dict[str, tuple[str, ...]]:
    """Intents, each followed by its paraphrases, further in."""
    found: dict[str, list[str]] = {}
    for line in written.strip().splitlines():
        if line.startswith(" "):
            found[next(reversed(found))].append(line.strip())
        else:
            found[line] = []
    return {intent: tuple(paraphrases) for intent, paraphrases in found.items()}


INTENTS = _read(_WRITTEN)
SLOTS: dict[str, tuple[str, ...]] = {
    "card": ("card", "debit card", "credit card", "bank card"),
    "amount": ("20 euros", "50 pounds", "75 dollars", "300 euros", "1,200 dollars"),
    "person": ("my sister", "Anna", "my landlord", "Mr Brown", "a friend"),
    "place": ("in a shop", "on the train", "at the airport", "at a petrol station"),
    "month": ("March", "June", "October", "December"),
    "currency": ("dollars", "yen", "pounds", "francs"),
    "town": ("Leeds", "Turin", "Bergen", "the old town"),
}
FRAMES: dict[str, tuple[str, ...]] = {
    "train": (
        "I want to {}.", "I would like to {}, please.", "How can I {}?", "Please help me to {}.", "Can you help me {}?",
        "I need to {}.", "Hello, I have to {}.", "Is it possible to {}?", "What must I do to {}?",
        "{}, please.", "Where in the app can I {}?", "I am trying to {}.", "Good morning, may I {}?",
        "My question is how to {}.",
    ),
    "validation": ("It is urgent that I {}.", "Who can help me to {}?", "Is there a way to {}?", "Let me {}."),
    "test": (
        "I have been waiting for days to {}!", "Could somebody explain how one can {}?", "The reason I write: to {}.",
        "We could not find out how to {} anywhere.", "Any idea how to {}? Thanks.",
        "So, to {}, which form do I fill in?",
        "Dear team, allow me to {}.", "It should be easy to {}, but it is not.",
    ),
}  # fmt: skip


def intents(train: int = 2400, validation: int = 400, test: int = 800, typos: float = 0.1, seed: int = 0) -> Rows:
    """Rows `text`, `label` (one of 40 intents), `frame` and `split`; every intent equally often in each part.

    Args:
        train, validation, test: how many rows.
        typos: share of words of four letters and more in which two letters are swapped, one is lost or one doubled.
        seed: of all of them.
    """
    random = np.random.default_rng(seed)
    counts = {"train": train, "validation": validation, "test": test}
    parts = {
        part: [_request(i, part, typos, random) for i in dealt(list(INTENTS), counts[part], random)] for part in counts
    }
    return gathered("intents", parts, seed)


def _request(intent: str, part: str, typos: float, random: np.random.Generator) -> Example:
    frame = pick(FRAMES[part], random)
    wish = pick(INTENTS[intent], random).format(**{slot: pick(values, random) for slot, values in SLOTS.items()})
    words = frame.format(wish).split()
    text = " ".join(_typo(w, random) if len(w) > 3 and random.random() < typos else w for w in words)
    return {"text": sentence(text), "label": intent, "frame": frame}


def _typo(word: str, random: np.random.Generator) -> str:
    """The word with two neighbours swapped, a letter lost, or a letter doubled; its first letter stays."""
    at = int(random.integers(1, len(word) - 1))
    kinds = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[: at + 1] + word[at:],
    )
    return pick(kinds, random)
