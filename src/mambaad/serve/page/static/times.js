// Times are sent as UTC; here they become those of the reader's clock.
"use strict";

function localTimes(root) {
  const lang = document.documentElement.lang;
  const own = navigator.languages.find(known => known.startsWith(lang)) || lang;  // such as en-GB
  const format = new Intl.DateTimeFormat(own, {
    dateStyle: "short", timeStyle: "medium",
  });
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.getTime())) {
      time.title = time.dateTime;
      time.textContent = format.format(moment);
    }
  }
}

localTimes(document);
