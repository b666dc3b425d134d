/// An option for new adapters that a method has. Several methods may have the same; how it is spelled on a command line
/// is for the program to say.
package struct MethodOption: Sendable, Equatable {
    /// What a value can be.
    package enum Form: Sendable, Equatable {
        /// true, or not given.
        case flag
        /// A whole number.
        case integer
        /// A number.
        case number
        /// One of these words.
        case word([String])
        /// Words, separated by commas, or a regular expression.
        case text
        /// Whole numbers by module pattern.
        case integers
        /// Numbers by module pattern.
        case numbers
    }

    /// Its name, peft's where that has one, such as `target_r`.
    package let key: String
    /// What it can be.
    package let form: Form
    /// What it means, a phrase without a point, beginning in lower case where the first word allows.
    package let help: String
    /// What a value is called; nil for the key itself.
    package let valueName: String?
    /// What it is where it is not given, in words; nil where there is nothing to say.
    package let initial: String?
    /// The option that this one is another name of.
    package let sameAs: String?

    /// An option; see the properties.
    package init(
        _ key: String, _ form: Form, _ help: String, valueName: String? = nil, initial: String? = nil,
        sameAs: String? = nil
    ) {
        self.key = key
        self.form = form
        self.help = help
        self.valueName = valueName
        self.initial = initial
        self.sameAs = sameAs
    }

    /// The key under which settings find an adapter's targets, as its file has them.
    package static let targetsKey = "target_modules"

    /// r, which most methods have.
    static func rank(initial: String) -> MethodOption {
        MethodOption("rank", .integer, "rank r of the update", initial: initial)
    }

    /// Alpha.
    static func alpha(initial: String) -> MethodOption {
        MethodOption("alpha", .number, "the update is scaled by alpha / rank", initial: initial)
    }

    /// Dropout of x.
    static let dropout = MethodOption("dropout", .number, "dropout of the adapter's input in training", initial: "0")
}
