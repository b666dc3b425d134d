/// What a line of a chat says.
enum ChatLine: Equatable {
    /// Nothing at all.
    case nothing
    /// The chat is to end.
    case exit
    /// What was said is to be forgotten.
    case clear
    /// What can be said to the program is to be told.
    case help
    /// Something to the program that it does not know, or words behind a command.
    case unknown(String)
    /// Something to the model.
    case message(String)

    /// A line as typed. One word behind a slash speaks to the program, a path does not; two slashes are one to the model.
    init(_ line: String) {
        let words = line.split(whereSeparator: \.isWhitespace)
        guard let first = words.first else {
            self = .nothing
            return
        }
        let name = first.dropFirst()
        let isWord = name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "?") }
        guard first.hasPrefix("/"), isWord else {
            let isEscaped = first.hasPrefix("//")
            self = .message(isEscaped ? String(line.drop(while: \.isWhitespace).dropFirst()) : line)
            return
        }
        switch words.count == 1 ? name.lowercased() : "" {
        case "exit", "quit", "bye": self = .exit
        case "clear", "reset", "new": self = .clear
        case "help", "?", "h": self = .help
        default: self = .unknown(words.joined(separator: " "))
        }
    }

    /// What can be said to the program, in lines.
    static let helpLines = [
        "/clear   forgets what was said",
        "/exit    ends the chat, as Ctrl-D does, or Ctrl-C twice",
        "/help    lists this",
        "//word   says /word to the model",
        "Ctrl-C   stops an answer",
    ]
}
