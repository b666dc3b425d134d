/// Where the assistant's turns begin and end in what a template writes, learnt from short conversations in its form.
///
/// A template without `{% generation %}` blocks does not say which of its text the model is to say. That follows from
/// how a conversation is used: the model is given all up to an answer, as the template writes it where an answer is
/// asked for, and is to say the rest of its turn, down to the mark by which whoever asks knows that it is over.
struct ChatTurns: Sendable {
    /// What the template writes between a message of the user's and an answer and would also give the model to answer
    /// behind; empty where that is unknown.
    private var header: [Unicode.Scalar] = []
    /// What it gives the model beyond that, and does not write before a finished answer (`<think>` of QwQ).
    private var opening: [Unicode.Scalar] = []
    /// Whether the template heeds `add_generation_prompt`. One that does not, such as Llama 2's, writes the same whoever
    /// is to speak, and only white space before an answer can be the model's.
    private var heedsPrompt = false
    /// What ends the assistant's last turn, such as `<|im_end|>`; nil where nothing does, or that is unknown.
    private(set) var ownEnd: String?
    /// What stands behind the assistant's turn where another follows; nil where nothing does, or that is unknown.
    private(set) var nextEnd: String?
    /// Whether the template took the conversations that this was to be learnt from.
    private var isLearnt = false
    /// Texts that can end a turn, the longest first.
    private var marks: [[Unicode.Scalar]]

    /// - Parameter marks: the texts of the tokenizer's special tokens.
    init(marks: [String]) {
        self.marks = Self.ordered(marks)
    }

    /// Learns from what `render` makes of the given messages; an error of it leaves open what would have followed.
    ///
    /// - Parameter render: a conversation, and whether an answer is asked for, in the template's form.
    mutating func learn(_ render: ([ChatMessage], Bool) throws -> ChatRendering) {
        let user = ChatMessage(role: "user", content: Self.question)
        let assistant = ChatMessage(role: "assistant", content: Self.answer)
        guard let finished = try? render([user, assistant], false),
            let run = Self.runs(of: finished).last
        else { return }
        isLearnt = true
        let text = Array(finished.text.unicodeScalars)
        ownEnd = mark(behind: Array(text[run.range.upperBound...]), looksAtForm: true)
        if let asked = try? render([user], true), let unasked = try? render([user], false) {
            learnHeader(Array(asked.text.unicodeScalars), Array(text[..<run.range.lowerBound]))
            heedsPrompt = !asked.text.unicodeScalars.elementsEqual(unasked.text.unicodeScalars)
        }
        if let longer = try? render([user, assistant, user], false), let first = Self.runs(of: longer).first {
            let rest = Array(longer.text.unicodeScalars)[first.range.upperBound...]
            let question = Array(Self.question.unicodeScalars)
            let end = Self.place(of: question, in: Array(rest)) ?? rest.count
            nextEnd = mark(behind: Array(rest.prefix(end)), looksAtForm: true)
        }
        marks = Self.ordered(marks.map(Self.string) + [ownEnd, nextEnd].compactMap { $0 })
    }

    /// Words that no template looks for.
    private static let question = "qzq"
    private static let answer = "xvx"

    private mutating func learnHeader(_ asked: [Unicode.Scalar], _ before: [Unicode.Scalar]) {
        let question = Array(Self.question.unicodeScalars)
        guard let place = Self.lastPlace(of: question, in: asked) else { return }
        let common = zip(asked, before).prefix { $0 == $1 }.count
        let start = place + question.count
        guard common > start else { return }
        header = Array(asked[start..<common])
        opening = Array(asked[common...])
    }

    /// A stretch of one message's words, with what stands between them.
    private struct Run {
        let message: Int
        /// In scalars of the whole text.
        var range: Range<Int>
    }

    private static func runs(of rendering: ChatRendering) -> [Run] {
        var runs: [Run] = []
        var start = 0
        for piece in rendering.pieces {
            let end = start + piece.text.unicodeScalars.count
            if let message = piece.message {
                if let last = runs.last, last.message == message {
                    runs[runs.count - 1].range = last.range.lowerBound..<end
                } else {
                    runs.append(Run(message: message, range: start..<end))
                }
            }
            start = end
        }
        return runs
    }

    /// What the model is to say, in scalars of the whole text, rising and apart: the text of the template's own
    /// `{% generation %}` blocks where it has them, else the assistant's turns with their ends.
    ///
    /// - Parameter isScored: whether a message of the assistant's counts.
    func said(in rendering: ChatRendering, isScored: (Int) -> Bool) -> [Range<Int>] {
        let text = Array(rendering.text.unicodeScalars)
        let runs = Self.runs(of: rendering)
        guard rendering.generations.isEmpty else {
            return Self.joined(
                rendering.generations.map { $0.clamped(to: 0..<text.count) }.filter { block in
                    let owner =
                        runs.first { $0.range.overlaps(block) } ?? runs.last { $0.range.upperBound <= block.lowerBound }
                    return owner.map { isScored($0.message) } ?? true
                })
        }
        var ranges: [Range<Int>] = []
        for (index, run) in runs.enumerated() where isScored(run.message) {
            let before = text[(index > 0 ? runs[index - 1].range.upperBound : 0)..<run.range.lowerBound]
            let next = index + 1 < runs.count ? runs[index + 1].range.lowerBound : text.count
            let start = run.range.lowerBound - openingLength(Array(before))
            ranges.append(start..<run.range.upperBound + endLength(Array(text[run.range.upperBound..<next])))
        }
        return Self.joined(ranges)
    }

    /// Ranges in order, those that touch as one, without empty ones.
    private static func joined(_ ranges: [Range<Int>]) -> [Range<Int>] {
        var joined: [Range<Int>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
            if let last = joined.last, last.upperBound >= range.lowerBound {
                joined[joined.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                joined.append(range)
            }
        }
        return joined
    }

    /// How much of the end of `before`, which stands before an answer's words, the model is to say itself.
    private func openingLength(_ before: [Unicode.Scalar]) -> Int {
        guard !header.isEmpty, let place = Self.lastPlace(of: header, in: before) else { return 0 }
        var rest = before[(place + header.count)...]
        rest = rest.dropFirst(zip(rest, opening).prefix { $0 == $1 }.count)
        return heedsPrompt || rest.allSatisfy(JinjaText.isSpace) ? rest.count : 0
    }

    /// How much of `after`, which stands behind an answer's words, ends its turn.
    private func endLength(_ after: [Unicode.Scalar]) -> Int {
        let start = after.firstIndex { !JinjaText.isSpace($0) } ?? after.count
        if let mark = mark(behind: after, looksAtForm: !isLearnt) { return start + mark.unicodeScalars.count }
        // Behind a call of a function comes what closes it.
        guard let end = ownEnd.map({ Array($0.unicodeScalars) }), let place = Self.place(of: end, in: after) else {
            return 0
        }
        return place + end.count
    }

    /// The mark at the beginning of a text, white space passed over; nil without one.
    ///
    /// - Parameter looksAtForm: whether `<...>` without white space inside is one too.
    private func mark(behind text: [Unicode.Scalar], looksAtForm: Bool) -> String? {
        let rest = Array(text.drop(while: JinjaText.isSpace))
        if let known = marks.first(where: { rest.starts(with: $0) }) { return Self.string(known) }
        guard looksAtForm, rest.first == "<" else { return nil }
        let stop = rest.dropFirst().firstIndex { $0 == ">" || $0 == "<" || JinjaText.isSpace($0) }
        guard let stop, rest[stop] == ">" else { return nil }
        return Self.string(Array(rest[...stop]))
    }

    private static func ordered(_ marks: [String]) -> [[Unicode.Scalar]] {
        marks.filter { !$0.isEmpty }.map { Array($0.unicodeScalars) }.sorted { $0.count > $1.count }
    }

    private static func string(_ scalars: [Unicode.Scalar]) -> String {
        scalars.reduce(into: "") { $0.unicodeScalars.append($1) }
    }

    private static func place(of pattern: [Unicode.Scalar], in text: [Unicode.Scalar]) -> Int? {
        guard pattern.count <= text.count else { return nil }
        return (0...text.count - pattern.count).first { text[$0...].starts(with: pattern) }
    }

    private static func lastPlace(of pattern: [Unicode.Scalar], in text: [Unicode.Scalar]) -> Int? {
        guard pattern.count <= text.count else { return nil }
        return (0...text.count - pattern.count).last { text[$0...].starts(with: pattern) }
    }
}
