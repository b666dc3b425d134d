/// A text of a template, scalar by scalar as Python counts characters, of which stretches are marked as what the
/// assistant says; the marks survive joining, cutting and changes of letters, and so show in the finished conversation
/// where its words have ended up.
struct JinjaText {
    /// A marked stretch.
    struct Mark: Equatable {
        /// Its scalars; empty where an answer is empty, as its place matters.
        var range: Range<Int>
        /// The number of the message whose words they are.
        var message: Int
    }

    private(set) var scalars: [Unicode.Scalar]
    /// In order and apart from one another.
    private(set) var marks: [Mark] = []
    /// Whether the text is safe HTML, which other texts are escaped for when they are joined to it.
    var isMarkup = false

    /// A text that may be one message's words.
    init(_ text: String, message: Int? = nil) {
        scalars = Array(text.unicodeScalars)
        if let message { marks = [Mark(range: 0..<scalars.count, message: message)] }
    }

    init(scalars: [Unicode.Scalar] = []) {
        self.scalars = scalars
    }

    var count: Int { scalars.count }
    var isEmpty: Bool { scalars.isEmpty }
    var string: String { scalars.string }

    /// The stretches in order; `message` is nil for what the assistant did not say.
    var pieces: [(text: String, message: Int?)] {
        var pieces: [(text: String, message: Int?)] = []
        var place = 0
        for mark in marks {
            if mark.range.lowerBound > place { pieces.append((scalars[place..<mark.range.lowerBound].string, nil)) }
            pieces.append((scalars[mark.range].string, mark.message))
            place = mark.range.upperBound
        }
        if place < scalars.count { pieces.append((scalars[place...].string, nil)) }
        return pieces
    }

    /// Adds a text; whether the result is markup stays as it is.
    mutating func append(_ other: JinjaText) {
        let offset = scalars.count
        scalars += other.scalars
        for mark in other.marks {
            marks.append(
                Mark(
                    range: mark.range.lowerBound + offset..<mark.range.upperBound + offset, message: mark.message))
        }
    }

    /// Adds a text without marks.
    mutating func append(_ text: String) { scalars.append(contentsOf: text.unicodeScalars) }

    /// Adds a scalar.
    mutating func append(_ scalar: Unicode.Scalar) { scalars.append(scalar) }

    /// A stretch of the text.
    subscript(range: Range<Int>) -> JinjaText {
        var part = JinjaText(scalars: Array(scalars[range]))
        part.isMarkup = isMarkup
        for mark in marks {
            let start = max(mark.range.lowerBound, range.lowerBound)
            let end = min(mark.range.upperBound, range.upperBound)
            if start < end || start == end && (range.isEmpty || mark.range.isEmpty) {
                part.marks.append(
                    Mark(range: start - range.lowerBound..<end - range.lowerBound, message: mark.message))
            }
        }
        return part
    }

    /// The text with each scalar replaced by those that `change` appends for it.
    func mapped(_ change: (Unicode.Scalar, Int, inout [Unicode.Scalar]) -> Void) -> JinjaText {
        var result = JinjaText()
        result.isMarkup = isMarkup
        result.scalars.reserveCapacity(scalars.count)
        if marks.isEmpty {
            for (index, scalar) in scalars.enumerated() { change(scalar, index, &result.scalars) }
            return result
        }
        var places = [0]
        places.reserveCapacity(scalars.count + 1)
        for (index, scalar) in scalars.enumerated() {
            change(scalar, index, &result.scalars)
            places.append(result.scalars.count)
        }
        result.marks = marks.map {
            Mark(range: places[$0.range.lowerBound]..<places[$0.range.upperBound], message: $0.message)
        }
        return result
    }

    /// The same letters as another text, with this one's mark where it has just one: for changes that do not say which
    /// letter became which.
    func replaced(by scalars: [Unicode.Scalar]) -> JinjaText {
        var result = JinjaText(scalars: scalars)
        result.isMarkup = isMarkup
        if marks.count == 1 { result.marks = [Mark(range: 0..<scalars.count, message: marks[0].message)] }
        return result
    }

    /// The text without the scalars at its ends for which `isDropped`.
    func trimmed(start: Bool = true, end: Bool = true, where isDropped: (Unicode.Scalar) -> Bool) -> JinjaText {
        var first = 0
        var last = scalars.count
        if start { while first < last, isDropped(scalars[first]) { first += 1 } }
        if end { while last > first, isDropped(scalars[last - 1]) { last -= 1 } }
        return first == 0 && last == scalars.count ? self : self[first..<last]
    }

    /// The place of another text at or after `start`, before `end`.
    func place(of other: [Unicode.Scalar], from start: Int = 0, to end: Int? = nil) -> Int? {
        let end = end ?? scalars.count
        guard other.count <= end - start, start <= end else { return nil }
        if other.count > 16 {
            return Self.place(of: other, in: end - start, at: { self.scalars[start + $0] }).map { start + $0 }
        }
        guard let first = other.first else { return start }
        var place = start
        while place + other.count <= end {
            if scalars[place] == first, stands(other, at: place) { return place }
            place += 1
        }
        return nil
    }

    /// The last place of another text between `start` and `end`.
    func lastPlace(of other: [Unicode.Scalar], from start: Int = 0, to end: Int? = nil) -> Int? {
        let end = end ?? scalars.count
        if other.count > 16 {
            guard other.count <= end - start else { return nil }
            let place = Self.place(of: other.reversed(), in: end - start, at: { self.scalars[end - 1 - $0] })
            return place.map { end - $0 - other.count }
        }
        var place = end - other.count
        while place >= start {
            if stands(other, at: place) { return place }
            place -= 1
        }
        return nil
    }

    /// The first place of a text among `count` scalars, in linear time (Knuth, Morris and Pratt).
    private static func place(
        of wanted: [Unicode.Scalar], in count: Int, at scalar: (Int) -> Unicode.Scalar
    ) -> Int? {
        // How much of `wanted` its beginning up to each place ends with.
        var ends = [0]
        for place in 1..<wanted.count {
            var length = ends[place - 1]
            while length > 0, wanted[length] != wanted[place] { length = ends[length - 1] }
            ends.append(wanted[length] == wanted[place] ? length + 1 : 0)
        }
        var length = 0
        for place in 0..<count {
            let found = scalar(place)
            while length > 0, wanted[length] != found { length = ends[length - 1] }
            if wanted[length] == found { length += 1 }
            if length == wanted.count { return place + 1 - length }
        }
        return nil
    }

    /// Whether another text stands at a place.
    func stands(_ other: [Unicode.Scalar], at place: Int) -> Bool {
        guard place >= 0, place + other.count <= scalars.count else { return false }
        for (offset, scalar) in other.enumerated() where scalars[place + offset] != scalar { return false }
        return true
    }

    /// Python's white space: Unicode's, and the four separators among the control characters.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII {
            return scalar == " " || (0x09...0x0D).contains(scalar.value) || (0x1C...0x1F).contains(scalar.value)
        }
        return scalar.properties.isWhitespace
    }
}

extension Sequence where Element == Unicode.Scalar {
    /// The text of these scalars.
    var string: String {
        var text = ""
        text.unicodeScalars.append(contentsOf: self)
        return text
    }
}
