// Times are sent as UTC; here they become those of the reader's clock.
"use strict";

function localTimes(root) {
  const lang = document.documentElement.lang;
  const own = navigator.languages.find(known => known.startsWith(lang)) || lang;  // such as en-GB
  const format = new Intl.DateTimeFormat(own, {
    dateStyle: "short", timeStyle: "medium",
  });
  const clock = new Intl.DateTimeFormat(own, { timeStyle: "medium" });
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.getTime())) {
      time.title = time.dateTime;
      const isShort = time.dataset.form === "short" && moment.toDateString() === today;
      time.textContent = (isShort ? clock : format).format(moment);
    }
  }
}

localTimes(document);

// Fields for times hold UTC in addresses, and the reader's time while they are edited.
const fields = document.querySelectorAll("input[type=datetime-local]");
const written = (moment, offset) =>
  new Date(moment.getTime() - offset * 60000).toISOString().slice(0, 16);
for (const field of fields) {
  const moment = new Date(field.value + "Z");
  if (field.value) field.value = written(moment, moment.getTimezoneOffset());
  field.form.addEventListener("submit", () => {
    const local = new Date(field.value);
    if (field.value) field.value = written(local, 0);
  });
}
if (fields.length) document.getElementById("utc").hidden = true;
