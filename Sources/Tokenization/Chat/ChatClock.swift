import Glibc

/// A time of a place, for templates that write the date (`strftime_now`).
package struct ChatClock: Sendable, Equatable {
    /// Years, months and days from 1, hours, minutes, seconds, microseconds.
    package var year, month, day, hour, minute, second, microsecond: Int

    /// A time. Parts beyond their ranges are brought into them.
    package init(
        year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0
    ) {
        self.year = min(max(year, 1), 9999)
        self.month = min(max(month, 1), 12)
        self.day = min(max(day, 1), Self.days(inMonth: self.month, of: self.year))
        self.hour = min(max(hour, 0), 23)
        self.minute = min(max(minute, 0), 59)
        self.second = min(max(second, 0), 59)
        microsecond = 0
    }

    /// The local time that the environment's `SOURCE_DATE_EPOCH` says, in seconds since the beginning of 1970; nil
    /// without it.
    package static var given: ChatClock? {
        getenv("SOURCE_DATE_EPOCH").flatMap { Int(String(cString: $0)) }.map { ChatClock(secondsSince1970: $0) }
    }

    /// The time of this machine's clock, where it stands.
    package static func now() -> ChatClock { ChatClock(secondsSince1970: Int(time(nil))) }

    /// The local time so many seconds after the beginning of 1970 in UTC.
    package init(secondsSince1970 seconds: Int) {
        var time = time_t(seconds)
        var parts = tm()
        localtime_r(&time, &parts)
        self.init(
            year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday),
            hour: Int(parts.tm_hour), minute: Int(parts.tm_min), second: Int(parts.tm_sec))
    }

    private static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    private static func days(inMonth month: Int, of year: Int) -> Int {
        month == 2 ? (isLeap(year) ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
    }

    /// Days since the year began, from 0.
    private var yearDay: Int { (1..<month).reduce(day - 1) { $0 + Self.days(inMonth: $1, of: year) } }

    /// Days since Sunday.
    private var weekday: Int {
        let before = year - 1
        return (before * 365 + before / 4 - before / 100 + before / 400 + yearDay + 1) % 7
    }

    private static let monthNames = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    private static let dayNames = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

    /// The time in a form of C's `strftime`, in English, without a zone.
    package func formatted(_ format: String) -> String {
        var result = ""
        var scalars = format.unicodeScalars.makeIterator()
        while let scalar = scalars.next() {
            guard scalar == "%" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            guard var form = scalars.next() else {
                result += "%"
                break
            }
            // GNU's flag for numbers without their zeros, which templates use.
            let isPlain = form == "-"
            if isPlain { form = scalars.next() ?? "-" }
            let part = part(form) ?? "%\(isPlain ? "-" : "")\(form)"
            result += isPlain ? Self.withoutPadding(part) : part
        }
        return result
    }

    private static func withoutPadding(_ text: String) -> String {
        let rest = text.drop { $0 == "0" || $0 == " " }
        return rest.isEmpty ? String(text.suffix(1)) : String(rest)
    }

    private static func padded(_ number: Int, _ count: Int = 2, _ fill: String = "0") -> String {
        let digits = String(number)
        return String(repeating: fill, count: max(0, count - digits.utf8.count)) + digits
    }

    private func part(_ form: Unicode.Scalar) -> String? {
        let hour12 = hour % 12 == 0 ? 12 : hour % 12
        switch form {
        case "a": return String(Self.dayNames[weekday].prefix(3))
        case "A": return Self.dayNames[weekday]
        case "b", "h": return String(Self.monthNames[month - 1].prefix(3))
        case "B": return Self.monthNames[month - 1]
        case "c": return formatted("%a %b %e %H:%M:%S %Y")
        case "C": return Self.padded(year / 100)
        case "d": return Self.padded(day)
        case "D", "x": return formatted("%m/%d/%y")
        case "e": return Self.padded(day, 2, " ")
        case "f": return Self.padded(microsecond, 6)
        case "F": return formatted("%Y-%m-%d")
        case "H": return Self.padded(hour)
        case "I": return Self.padded(hour12)
        case "j": return Self.padded(yearDay + 1, 3)
        case "k": return Self.padded(hour, 2, " ")
        case "l": return Self.padded(hour12, 2, " ")
        case "m": return Self.padded(month)
        case "M": return Self.padded(minute)
        case "n": return "\n"
        case "p": return hour < 12 ? "AM" : "PM"
        case "P": return hour < 12 ? "am" : "pm"
        case "r": return formatted("%I:%M:%S %p")
        case "R": return formatted("%H:%M")
        case "S": return Self.padded(second)
        case "t": return "\t"
        case "T", "X": return formatted("%H:%M:%S")
        case "u": return String(weekday == 0 ? 7 : weekday)
        case "U": return Self.padded((yearDay + 7 - weekday) / 7)
        case "w": return String(weekday)
        case "W": return Self.padded((yearDay + 7 - (weekday + 6) % 7) / 7)
        case "G": return String(isoWeek.year)
        case "g": return Self.padded(isoWeek.year % 100)
        case "V": return Self.padded(isoWeek.week)
        case "y": return Self.padded(year % 100)
        case "Y": return String(year)
        case "z", "Z": return ""
        case "%": return "%"
        default: return nil
        }
    }

    /// The week of ISO 8601 and the year that it belongs to.
    private var isoWeek: (year: Int, week: Int) {
        let week = (yearDay - (weekday + 6) % 7 + 10) / 7
        func weeks(_ year: Int) -> Int {
            let last = ChatClock(year: year, month: 12, day: 31).weekday
            let first = ChatClock(year: year, month: 1, day: 1).weekday
            return last == 4 || first == 4 ? 53 : 52
        }
        if week < 1 { return (year - 1, weeks(year - 1)) }
        return week > weeks(year) ? (year + 1, 1) : (year, week)
    }
}
