import ArgumentParser
import Models

/// What a head for whole texts is asked for.
enum TaskChoice: String, CaseIterable, ExpressibleByArgument {
    /// One of several classes.
    case classify
    /// A number.
    case regress
}

/// The head for whole texts that a new adapter trains.
struct TaskArguments: ParsableArguments {
    @Option(
        name: .customLong("task"),
        help: ArgumentHelp(
            "Train a head for whole texts with the adapter, classify or regress. (default: none)",
            discussion: "The base's own head, such as that of a language model, makes way for one of transformers' "
                + "*ForSequenceClassification, which is made where the base has none.",
            valueName: "task"))
    var choice: TaskChoice?

    @Option(
        help: ArgumentHelp(
            "The classes of --task classify by name, such as negative,positive. (default: of train, those of its data)",
            valueName: "names"))
    var labels: String?

    @Option(help: ArgumentHelp("How many classes --task classify has, without names.", valueName: "count"))
    var numLabels: Int?

    /// Whether classes are asked for and not said: a run then takes those of its data.
    var findsClasses: Bool { choice == .classify && labels == nil && numLabels == nil }

    /// The options that were given.
    var given: [String] {
        let options = [("--task", choice != nil), ("--labels", labels != nil), ("--num-labels", numLabels != nil)]
        return options.filter(\.1).map(\.0)
    }

    /// What was asked for; nil for nothing.
    func task() throws -> SequenceTask? {
        switch choice {
        case nil, .regress:
            if let option = labels.map({ _ in "--labels" }) ?? numLabels.map({ _ in "--num-labels" }) {
                throw ValidationError("\(option) goes with --task classify")
            }
            return choice.map { _ in .regression }
        case .classify:
            guard let labels else {
                guard let count = numLabels else {
                    throw ValidationError("--task classify needs the classes: --labels with names, or --num-labels")
                }
                guard (2...TaskArguments.limit).contains(count) else {
                    throw ValidationError("--num-labels \(count): expected 2 to \(TaskArguments.limit) classes")
                }
                return SequenceTask(classCount: count)
            }
            let names = labels.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            guard names.count > 1, !names.contains(""), Set(names).count == names.count else {
                throw ValidationError("--labels \(labels): expected at least two names, each once")
            }
            if let count = numLabels, count != names.count {
                throw ValidationError("--num-labels \(count): --labels has \(names.count) names")
            }
            return SequenceTask(classes: names)
        }
    }

    /// More classes than anybody has.
    private static let limit = 100_000
}
