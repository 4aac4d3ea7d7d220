// The age of the moon in days, from a known new moon (6 January 2000, 18:14 UTC).
const SYNODIC_DAYS = 29.530588;
export function moonAge(date) {
  const days = (date - Date.UTC(2000, 0, 6, 18, 14)) / 86400000;
  return ((days % SYNODIC_DAYS) + SYNODIC_DAYS) % SYNODIC_DAYS;
}
