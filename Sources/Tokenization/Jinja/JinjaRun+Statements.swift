extension JinjaRun {
    /// How a body was left.
    enum Exit { case end, leaveLoop, nextTurn }

    /// Runs statements with the variables of `scope`.
    func run(_ statements: [JinjaStatement], in scope: JinjaScope) throws(JinjaError) -> Exit {
        try enter()
        defer { leave() }
        for statement in statements {
            try spend(1)
            let exit = try run(statement, in: scope)
            if exit != .end { return exit }
        }
        return .end
    }

    private func run(_ statement: JinjaStatement, in scope: JinjaScope) throws(JinjaError) -> Exit {
        switch statement {
        case .text(let text): try put(text)
        case .output(let expressions):
            for expression in expressions { try putValue(expression, scope) }
        case .condition(let branches, let otherwise):
            for branch in branches where try evaluate(branch.condition, scope).isTrue {
                return try run(branch.body, in: scope)
            }
            return try run(otherwise, in: scope)
        case .loop(let loop): return try runLoop(loop, scope)
        case .set(let target, let value): try assign(evaluate(value, scope), to: target, scope)
        case .setBlock(let target, let filter, let body): return try runSetBlock(target, filter, body, scope)
        case .macro(let syntax): defineMacro(syntax, scope)
        case .callBlock(let call, let body): try runCallBlock(call, body, scope)
        case .filterBlock(let filter, let body): return try runFilterBlock(filter, body, scope)
        case .with(let values, let body): return try runWith(values, body, scope)
        case .autoescape(let isOn, let body): return try runAutoescape(isOn, body, scope)
        case .block(let block): try runBlock(block, scope)
        case .generation(let body): try runGeneration(body, scope)
        case .leaveLoop: return .leaveLoop
        case .nextTurn: return .nextTurn
        case .otherTemplate(let keyword): throw .failed("it has the statement '\(keyword)'")
        }
        return .end
    }

    // MARK: Output

    private func put(_ text: String) throws(JinjaError) {
        try spendText(text.utf8.count)
        try checkText(output.count + text.utf8.count)
        output.append(text)
    }

    private func put(_ text: JinjaText) throws(JinjaError) {
        let text = escapes ? try escaped(text) : text
        try spendText(text.count)
        try checkText(output.count + text.count)
        output.append(text)
    }

    private func putValue(_ expression: JinjaExpression, _ scope: JinjaScope) throws(JinjaError) {
        try put(string(of: evaluate(expression, scope)))
    }

    /// What a body puts out, and how it was left.
    func captured(_ body: () throws(JinjaError) -> Exit) throws(JinjaError) -> (text: JinjaText, exit: Exit) {
        let outer = output
        let outerCount = finishedCount
        finishedCount = outerCount ?? output.count
        output = JinjaText()
        defer {
            output = outer
            finishedCount = outerCount
        }
        let exit = try body()
        var text = output
        text.isMarkup = escapes
        return (text, exit)
    }

    private func captured(_ body: [JinjaStatement], in scope: JinjaScope) throws(JinjaError) -> (
        text: JinjaText, exit: Exit
    ) {
        try captured { () throws(JinjaError) in try run(body, in: makeScope(in: scope)) }
    }

    // MARK: Assignments

    /// Gives a value to a target; several targets take the value's elements.
    func assign(_ value: JinjaValue, to target: JinjaTarget, _ scope: JinjaScope) throws(JinjaError) {
        switch target {
        case .name(let name): scope.set(name, value)
        case .member(let name, let member):
            guard case .namespace(let namespace) = lookUp(name, scope) else {
                throw .failed("'\(name)' is no namespace")
            }
            try check(member: member)
            namespace[member] = value
        case .tuple(let targets):
            let values = try elements(of: value)
            guard values.count == targets.count else {
                throw .failed("\(values.count) values are assigned to \(targets.count) variables")
            }
            for (value, target) in zip(values, targets) { try assign(value, to: target, scope) }
        }
    }

    /// Refuses names of members that transformers refuses.
    func check(member: String) throws(JinjaError) {
        if member.hasPrefix("_") { throw .failed("a namespace has the member '\(member)'") }
    }

    private func runSetBlock(
        _ target: JinjaTarget, _ filter: JinjaExpression?, _ body: [JinjaStatement], _ scope: JinjaScope
    ) throws(JinjaError) -> Exit {
        let inner = try makeScope(in: scope)
        let (text, exit) = try captured { () throws(JinjaError) in try run(body, in: inner) }
        // What leaves the loop around leaves the assignment too.
        if exit != .end { return exit }
        let value = try filter.map { (filter) throws(JinjaError) in try evaluate(filter, inner, caught: text) }
        try assign(value ?? .text(text), to: target, scope)
        return .end
    }

    private func runFilterBlock(
        _ filter: JinjaExpression, _ body: [JinjaStatement], _ scope: JinjaScope
    ) throws(JinjaError) -> Exit {
        let inner = try makeScope(in: scope)
        let (text, exit) = try captured { () throws(JinjaError) in try run(body, in: inner) }
        if exit != .end { return exit }
        try put(string(of: evaluate(filter, inner, caught: text)))
        return .end
    }

    private func runWith(
        _ values: [(target: JinjaTarget, value: JinjaExpression)], _ body: [JinjaStatement], _ scope: JinjaScope
    ) throws(JinjaError) -> Exit {
        let inner = try makeScope(in: scope)
        // The values see the variables outside alone.
        var evaluated: [JinjaValue] = []
        for value in values { evaluated.append(try evaluate(value.value, scope)) }
        for (value, pair) in zip(evaluated, values) { try assign(value, to: pair.target, inner) }
        return try run(body, in: inner)
    }

    private func runAutoescape(
        _ isOn: JinjaExpression, _ body: [JinjaStatement], _ scope: JinjaScope
    ) throws(JinjaError) -> Exit {
        let outer = escapes
        escapes = try evaluate(isOn, scope).isTrue
        defer { escapes = outer }
        return try run(body, in: makeScope(in: scope))
    }

    // MARK: Functions

    private func defineMacro(_ syntax: JinjaMacroSyntax, _ scope: JinjaScope) {
        remember(scope)
        scope.set(syntax.name ?? "", .macro(JinjaMacro(syntax, scope: scope, escapes: escapes)))
    }

    private func runCallBlock(
        _ call: JinjaExpression, _ body: JinjaMacroSyntax, _ scope: JinjaScope
    ) throws(JinjaError) {
        guard case .call(let function, let arguments) = call else { return }
        let value = try evaluate(function, scope)
        var given = try evaluate(arguments, scope)
        given.named.append(("caller", .macro(JinjaMacro(body, scope: scope, escapes: escapes))))
        remember(scope)
        try put(string(of: self.call(value, given)))
    }

    private func runBlock(_ block: JinjaBlockSyntax, _ scope: JinjaScope) throws(JinjaError) {
        if block.isRequired { throw .failed("the block '\(block.name)' is to be written by another template") }
        _ = try run(block.body, in: makeScope(in: block.isScoped ? scope : self.scope))
    }

    private func runGeneration(_ body: [JinjaStatement], _ scope: JinjaScope) throws(JinjaError) {
        let start = finishedCount ?? output.count
        let said = try captured(body, in: scope).text
        generations.append(start..<start + said.count)
        try put(said)
    }

    // MARK: Loops

    private func runLoop(_ syntax: JinjaForLoop, _ scope: JinjaScope) throws(JinjaError) -> Exit {
        try runLoop(syntax, over: evaluate(syntax.source, scope), scope, depth0: 0)
        return .end
    }

    /// Runs a loop over a value: one that is recursive for the value of an outer turn too.
    func runLoop(
        _ syntax: JinjaForLoop, over source: JinjaValue, _ scope: JinjaScope, depth0: Int
    ) throws(JinjaError) {
        let all = try iterate(source)
        let loop: JinjaLoop
        let recursion = syntax.isRecursive ? (syntax, scope) : nil
        if let test = syntax.test {
            let chosen = JinjaIterator(depth: all.depth) { [self] () throws(JinjaError) in
                while let value = try all.next() {
                    let inner = try makeScope(in: scope)
                    try assign(value, to: syntax.target, inner)
                    if try evaluate(test, inner).isTrue { return value }
                }
                return nil
            }
            loop = JinjaLoop(chosen, count: nil, depth0: depth0, recursion: recursion)
        } else {
            loop = JinjaLoop(all, count: try length(of: source), depth0: depth0, recursion: recursion)
        }
        remember(loop)
        var hasCompletedTurn = false
        while let value = try loop.advance() {
            let inner = try makeScope(["loop": .loop(loop)], in: scope)
            try assign(value, to: syntax.target, inner)
            let exit = try run(syntax.body, in: inner)
            if exit == .leaveLoop { break }
            // Jinja counts only turns that come to their end.
            if exit == .end { hasCompletedTurn = true }
        }
        if !hasCompletedTurn, !syntax.otherwise.isEmpty { _ = try run(syntax.otherwise, in: makeScope(in: scope)) }
    }
}
