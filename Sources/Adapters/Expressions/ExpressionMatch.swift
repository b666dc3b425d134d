/// One run of a program over a text. A pair of instruction and place is tried once only: what led nowhere from there
/// leads nowhere again, since an expression here never asks how it came to a place. So the time is at most proportional
/// to instructions times scalars, and to scalars times that where the expression looks ahead or back.
struct ExpressionMatch {
    /// Steps that one run may take.
    static let stepLimit = 1 << 26

    /// More steps than `stepLimit` would be needed.
    struct OutOfSteps: Error {}

    private let program: ExpressionProgram
    private let text: [Unicode.Scalar]
    /// What each look said at each place it was asked.
    private var looks: [Int: Bool] = [:]
    private var steps = 0

    /// What is still to be tried: a pair, or a group's place to be put back.
    private enum Task {
        case attempt(instruction: Int, place: Int)
        case restore(slot: Int, place: Int?)
    }

    private init(_ program: ExpressionProgram, _ text: [Unicode.Scalar]) {
        self.program = program
        self.text = text
    }

    /// The places of all groups in the match of the whole of `text`, start and end of each; nil for no match.
    static func whole(
        _ text: [Unicode.Scalar], _ program: ExpressionProgram
    ) throws(OutOfSteps) -> [Int?]? {
        var match = ExpressionMatch(program, text)
        return try match.run(from: 0, at: 0)
    }

    private mutating func run(from start: Int, at place: Int) throws(OutOfSteps) -> [Int?]? {
        let width = text.count + 1
        guard program.instructions.count <= Self.stepLimit / width else { throw OutOfSteps() }
        var tried = [UInt64](repeating: 0, count: (program.instructions.count * width + 63) / 64)
        steps += tried.count
        var slots = [Int?](repeating: nil, count: 2 * program.groupCount)
        var tasks: [Task] = [.attempt(instruction: start, place: place)]
        while let task = tasks.popLast() {
            guard case .attempt(var instruction, var place) = task else {
                if case .restore(let slot, let place) = task { slots[slot] = place }
                continue
            }
            follow: while true {
                let bit = instruction * width + place
                guard tried[bit / 64] & 1 << (bit % 64) == 0 else { break }
                tried[bit / 64] |= 1 << (bit % 64)
                steps += 1
                if steps > Self.stepLimit { throw OutOfSteps() }
                switch program.instructions[instruction] {
                case .scalar(let scalar):
                    guard place < text.count, text[place] == scalar else { break follow }
                    place += 1
                    instruction += 1
                case .set(let index):
                    guard place < text.count, program.sets[index].contains(text[place]) else { break follow }
                    place += 1
                    instruction += 1
                case .jump(let next): instruction = next
                case .split(let first, let second):
                    tasks.append(.attempt(instruction: second, place: place))
                    instruction = first
                case .save(let slot):
                    tasks.append(.restore(slot: slot, place: slots[slot]))
                    slots[slot] = place
                    instruction += 1
                case .place(let condition):
                    guard holds(condition, at: place) else { break follow }
                    instruction += 1
                case .look(let start, let width, let isNegative):
                    guard try look(start, width, at: place) != isNegative else { break follow }
                    instruction += 1
                case .match(let isLook):
                    guard isLook || place == text.count else { break follow }
                    return slots
                }
            }
        }
        return nil
    }

    private mutating func look(_ start: Int, _ width: Int?, at place: Int) throws(OutOfSteps) -> Bool {
        let key = start * (text.count + 1) + place
        if let known = looks[key] { return known }
        let from = place - (width ?? 0)
        var found = false
        if from >= 0 { found = try run(from: start, at: from) != nil }
        looks[key] = found
        return found
    }

    private func holds(_ condition: ExpressionNode.Place, at place: Int) -> Bool {
        func isWord(_ place: Int) -> Bool { text.indices.contains(place) && ScalarSet.Kind.word.contains(text[place]) }
        switch condition {
        case .start: return place == 0
        case .end: return place == text.count
        case .endOrLastLineBreak: return place == text.count || place == text.count - 1 && text[place] == "\n"
        case .wordBoundary: return isWord(place - 1) != isWord(place)
        case .noWordBoundary: return isWord(place - 1) == isWord(place)
        }
    }
}
