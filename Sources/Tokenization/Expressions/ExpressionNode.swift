/// A part of a parsed expression.
indirect enum ExpressionNode {
    /// How much a repetition takes.
    enum Greed {
        case greedy, lazy, possessive
    }

    case set(ScalarSet)
    case sequence([ExpressionNode])
    case alternatives([ExpressionNode])
    case repeated(ExpressionNode, least: Int, most: Int, Greed)
    case ahead(ExpressionNode, isNegated: Bool)
    case atomic(ExpressionNode)
    case lineEnd
    case lineStart

    /// Instructions of a program at most.
    private static let programLimit = 1 << 12

    /// Whether it can match no characters.
    var canBeEmpty: Bool {
        switch self {
        case .set: false
        case .sequence(let parts): parts.allSatisfy(\.canBeEmpty)
        case .alternatives(let parts): parts.contains(where: \.canBeEmpty)
        case .repeated(let part, let least, _, _): least == 0 || part.canBeEmpty
        case .atomic(let part): part.canBeEmpty
        case .ahead, .lineEnd, .lineStart: true
        }
    }

    /// Appends what matches this; false where that is too long, or would repeat nothing for ever.
    func compile(into program: inout [TextExpression.Instruction]) -> Bool {
        guard program.count < Self.programLimit else { return false }
        switch self {
        case .set(let set): program.append(.one(set))
        case .lineEnd: program.append(.lineEnd)
        case .lineStart: program.append(.lineStart)
        case .sequence(let parts):
            for part in parts where !part.compile(into: &program) { return false }
        case .alternatives(let parts): return Self.compile(parts[...], into: &program)
        case .ahead(let part, let isNegated):
            return Self.compile(part, into: &program) { .ahead(end: $0, isNegated: isNegated) }
        case .atomic(let part):
            return Self.compile(part, into: &program) { .atomic(end: $0) }
        case .repeated(.set(let set), let least, let most, let greed) where greed != .lazy:
            program.append(.run(set, least: least, most: most, isPossessive: greed == .possessive))
        case .repeated(let part, let least, let most, .possessive):
            return ExpressionNode.atomic(.repeated(part, least: least, most: most, .greedy)).compile(into: &program)
        case .repeated(let part, let least, let most, let greed):
            return Self.compile(part, least, most, isLazy: greed == .lazy, into: &program)
        }
        return true
    }

    private static func compile(
        _ part: ExpressionNode, into program: inout [TextExpression.Instruction],
        as instruction: (_ end: Int) -> TextExpression.Instruction
    ) -> Bool {
        let place = program.count
        program.append(.done)
        guard part.compile(into: &program) else { return false }
        program.append(.done)
        program[place] = instruction(program.count - place)
        return true
    }

    private static func compile(
        _ parts: ArraySlice<ExpressionNode>, into program: inout [TextExpression.Instruction]
    ) -> Bool {
        guard let first = parts.first else { return true }
        if parts.count == 1 { return first.compile(into: &program) }
        let fork = program.count
        program.append(.done)
        guard first.compile(into: &program) else { return false }
        let exit = program.count
        program.append(.done)
        program[fork] = .either(1, program.count - fork)
        guard compile(parts.dropFirst(), into: &program) else { return false }
        program[exit] = .jump(program.count - exit)
        return true
    }

    private static func compile(
        _ part: ExpressionNode, _ least: Int, _ most: Int, isLazy: Bool,
        into program: inout [TextExpression.Instruction]
    ) -> Bool {
        for _ in 0..<least where !part.compile(into: &program) { return false }
        func either(_ inside: Int, _ outside: Int) -> TextExpression.Instruction {
            isLazy ? .either(outside, inside) : .either(inside, outside)
        }
        if most == .max {
            guard !part.canBeEmpty else { return false }
            let fork = program.count
            program.append(.done)
            guard part.compile(into: &program) else { return false }
            program.append(.jump(fork - program.count))
            program[fork] = either(1, program.count - fork)
            return true
        }
        var forks: [Int] = []
        for _ in least..<most {
            forks.append(program.count)
            program.append(.done)
            guard part.compile(into: &program) else { return false }
        }
        for fork in forks { program[fork] = either(1, program.count - fork) }
        return true
    }
}
