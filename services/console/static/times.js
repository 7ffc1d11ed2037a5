// Keeps relative times right, in the words of services/console/words/times.py.
const MINUTE = 60, HOUR = 3600, DAY = 86400;

function amount(seconds) {
  if (seconds < HOUR) return `${Math.max(1, Math.round(seconds / MINUTE))} min`;
  if (seconds < DAY) return `${Math.round(seconds / HOUR)} h`;
  const days = Math.round(seconds / DAY);
  return days === 1 ? "1 day" : `${days} days`;
}

function words(moment) {
  const seconds = (Date.now() - moment) / 1000;
  if (Math.abs(seconds) >= 7 * DAY) return null;
  if (Math.abs(seconds) < 45) return seconds >= 0 ? "just now" : "in a moment";
  return seconds >= 0 ? `${amount(seconds)} ago` : `in ${amount(-seconds)}`;
}

setInterval(() => {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const said = words(Date.parse(time.dateTime));
    if (said !== null && said !== time.textContent) time.textContent = said;
  }
}, 20000);
