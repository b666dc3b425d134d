/// A regular expression as instructions.
struct ExpressionProgram: Sendable {
    enum Instruction: Sendable {
        /// The next scalar must be this one.
        case scalar(Unicode.Scalar)
        /// The next scalar must be in this set.
        case set(Int)
        /// Go on there.
        case jump(Int)
        /// Go on at the first, and where that fails at the second.
        case split(Int, Int)
        /// Remember the place: that of group n's start in 2n, of its end in 2n + 1.
        case save(Int)
        /// The place must be so.
        case place(ExpressionNode.Place)
        /// What stands from `start` on must match here, or `width` scalars before; or must not.
        case look(start: Int, width: Int?, isNegative: Bool)
        /// A match, of all the text where it is not that of a look.
        case match(ofLook: Bool)
    }

    /// Instructions that an expression may become: ten times what an alternation of the modules of a large model is.
    static let instructionLimit = 1 << 16
    /// Copies of one part that its repetition may ask for.
    private static let repetitionLimit = 1000

    private(set) var instructions: [Instruction] = []
    private(set) var sets: [ScalarSet] = []
    /// Groups whose places are remembered.
    let groupCount: Int

    /// The instructions of `text`; throws for what is not taken.
    init(_ text: String) throws(ExpressionError) {
        let (node, groupCount) = try ExpressionParser.parse(text)
        self.groupCount = groupCount
        try append(node)
        try emit(.match(ofLook: false))
    }

    private mutating func emit(_ instruction: Instruction) throws(ExpressionError) {
        guard instructions.count < Self.instructionLimit else {
            throw ExpressionError(reason: "it becomes more than \(Self.instructionLimit) steps, which is too large")
        }
        instructions.append(instruction)
    }

    private mutating func append(_ node: ExpressionNode) throws(ExpressionError) {
        switch node {
        case .empty: break
        case .set(let set):
            if let scalar = set.single { return try emit(.scalar(scalar)) }
            sets.append(set)
            try emit(.set(sets.count - 1))
        case .sequence(let parts): for part in parts { try append(part) }
        case .choice(let parts): try appendChoice(parts)
        case .repetition(let node, let lower, let upper, let isLazy):
            try appendRepetition(of: node, lower: lower, upper: upper, isLazy: isLazy)
        case .group(let node, let number):
            try emit(.save(2 * number - 2))
            try append(node)
            try emit(.save(2 * number - 1))
        case .place(let place): try emit(.place(place))
        case .look(let node, let isBehind, let isNegative):
            let place = instructions.count
            try emit(.look(start: place + 2, width: isBehind ? node.width : nil, isNegative: isNegative))
            try emit(.jump(0))
            try append(node)
            try emit(.match(ofLook: true))
            instructions[place + 1] = .jump(instructions.count)
        }
    }

    private mutating func appendChoice(_ parts: [ExpressionNode]) throws(ExpressionError) {
        var ends: [Int] = []
        for part in parts.dropLast() {
            let split = instructions.count
            try emit(.split(split + 1, 0))
            try append(part)
            ends.append(instructions.count)
            try emit(.jump(0))
            instructions[split] = .split(split + 1, instructions.count)
        }
        if let last = parts.last { try append(last) }
        for end in ends { instructions[end] = .jump(instructions.count) }
    }

    private mutating func appendRepetition(
        of node: ExpressionNode, lower: Int, upper: Int?, isLazy: Bool
    ) throws(ExpressionError) {
        guard max(lower, upper ?? 0) <= Self.repetitionLimit else {
            throw ExpressionError(reason: "it repeats a part more than \(Self.repetitionLimit) times")
        }
        func split(_ first: Int, _ second: Int) -> Instruction {
            isLazy ? .split(second, first) : .split(first, second)
        }
        for _ in 0..<lower { try append(node) }
        guard let upper else {
            let start = instructions.count
            try emit(.jump(0))
            try append(node)
            try emit(.jump(start))
            instructions[start] = split(start + 1, instructions.count)
            return
        }
        var splits: [Int] = []
        for _ in lower..<upper {
            splits.append(instructions.count)
            try emit(.jump(0))
            try append(node)
        }
        for place in splits { instructions[place] = split(place + 1, instructions.count) }
    }
}
