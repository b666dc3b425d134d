/// A value that stands in a template as such.
enum JinjaLiteral: Sendable, Equatable {
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case text(String)
}

/// An expression of a Jinja template.
indirect enum JinjaExpression: Sendable {
    case literal(JinjaLiteral)
    case name(String)
    case list([JinjaExpression])
    case tuple([JinjaExpression])
    case dictionary([(key: JinjaExpression, value: JinjaExpression)])
    case attribute(JinjaExpression, String)
    case element(JinjaExpression, JinjaExpression)
    case slice(JinjaExpression, JinjaSlice)
    case call(JinjaExpression, JinjaArguments)
    /// A filter's name is unknown where it is not to be used.
    case filter(JinjaExpression, String, JinjaArguments)
    case test(JinjaExpression, String, JinjaArguments)
    case not(JinjaExpression)
    case negative(JinjaExpression)
    case positive(JinjaExpression)
    case and(JinjaExpression, JinjaExpression)
    case or(JinjaExpression, JinjaExpression)
    case binary(JinjaOperator, JinjaExpression, JinjaExpression)
    case concatenation([JinjaExpression])
    /// A chain of comparisons, each with the operand after it.
    case comparison(JinjaExpression, [(operation: JinjaComparison, right: JinjaExpression)])
    case conditional(JinjaExpression, condition: JinjaExpression, otherwise: JinjaExpression?)
    /// The text of the block that a filter stands at.
    case caught
}

/// What stands between the brackets of a slice.
struct JinjaSlice: Sendable {
    var start: JinjaExpression?
    var stop: JinjaExpression?
    var step: JinjaExpression?
}

/// An operator on two values.
enum JinjaOperator: String, Sendable {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case floorDivide = "//"
    case remainder = "%"
    case power = "**"
}

/// A comparison.
enum JinjaComparison: String, Sendable {
    case equal = "=="
    case unequal = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
    case isIn = "in"
    case isNotIn = "not in"
}

/// What is handed to a function, a filter or a test.
struct JinjaArguments: Sendable {
    var positional: [JinjaExpression] = []
    var named: [(name: String, value: JinjaExpression)] = []
    /// `*values`
    var morePositional: JinjaExpression?
    /// `**values`
    var moreNamed: JinjaExpression?
}

/// What a value is assigned to.
indirect enum JinjaTarget: Sendable {
    case name(String)
    case tuple([JinjaTarget])
    /// A member of a namespace.
    case member(String, String)
}

/// A statement of a Jinja template.
indirect enum JinjaStatement: Sendable {
    case text(String)
    case output([JinjaExpression])
    case condition([(condition: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement])
    case loop(JinjaForLoop)
    case set(JinjaTarget, JinjaExpression)
    case setBlock(JinjaTarget, filter: JinjaExpression?, body: [JinjaStatement])
    case macro(JinjaMacroSyntax)
    case callBlock(JinjaExpression, JinjaMacroSyntax)
    case filterBlock(JinjaExpression, [JinjaStatement])
    case with([(target: JinjaTarget, value: JinjaExpression)], [JinjaStatement])
    case autoescape(JinjaExpression, [JinjaStatement])
    case block(JinjaBlockSyntax)
    /// What stands between `{% generation %}` and its end: what the model is to say.
    case generation([JinjaStatement])
    case leaveLoop
    case nextTurn
    /// A statement that needs another template, of which there is none.
    case otherTemplate(String)
}

/// A loop.
struct JinjaForLoop: Sendable {
    var target: JinjaTarget
    var source: JinjaExpression
    var test: JinjaExpression?
    var isRecursive: Bool
    var body: [JinjaStatement]
    var otherwise: [JinjaStatement]
}

/// A function that a template defines, or the body of a call.
struct JinjaMacroSyntax: Sendable {
    var name: String?
    var parameters: [(name: String, standard: JinjaExpression?)] = []
    var body: [JinjaStatement] = []
    /// Which of the special names `caller`, `kwargs` and `varargs` its body uses.
    var uses: Set<String> = []
}

/// A block with a name, which stands where it is defined.
struct JinjaBlockSyntax: Sendable {
    var name: String
    var isScoped: Bool
    var isRequired: Bool
    var body: [JinjaStatement]
}
