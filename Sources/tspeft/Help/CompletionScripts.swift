/// What shells load to complete command lines of the program: each asks the program itself, which knows its commands.
enum CompletionScripts {
    /// The word by which a script asks, before the words of the line.
    static let request = "---complete"

    /// Shells that there is a script for.
    static let shells = ["bash", "zsh", "fish"]

    /// The script for a shell; nil for another one.
    static func text(for shell: String) -> String? {
        switch shell {
        case "bash": bash
        case "zsh": zsh
        case "fish": fish
        default: nil
        }
    }

    private static let bash = #"""
        # Completion of tspeft for bash. Load it with: source <(tspeft completions bash)
        _tspeft() {
            local IFS=$'\n' word="${COMP_WORDS[COMP_CWORD]}" name ending found
            local -a answer endings all=()
            COMPREPLY=()
            answer=($("${COMP_WORDS[0]/#\~/$HOME}" ---complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
            [[ $word == = ]] && word=
            case ${answer[0]} in
            words)
                for name in "${answer[@]:1}"; do
                    COMPREPLY+=("${name%%$'\t'*}")
                done
                # Words between commas go on.
                [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
                ;;
            directories)
                compopt -o filenames 2>/dev/null
                COMPREPLY=($(compgen -d -- "$word"))
                ;;
            files*)
                compopt -o filenames 2>/dev/null
                IFS=' ' read -r -a endings <<<"${answer[0]#files}"
                all=($(compgen -f -- "$word"))
                for name in "${all[@]}"; do
                    # Hidden files are for those who begin to name one.
                    [[ ${name##*/} == .* && ${word##*/} != .* ]] && continue
                    found=
                    for ending in "${endings[@]}"; do
                        [[ $name == *."$ending" ]] && found=yes
                    done
                    [[ -n $found || -d ${name/#\~/$HOME} ]] && COMPREPLY+=("$name")
                done
                # Where nothing fits, any file may be meant.
                ((${#COMPREPLY[@]})) || COMPREPLY=("${all[@]}")
                ;;
            esac
        }
        complete -F _tspeft tspeft
        """#

    private static let zsh = #"""
        #compdef tspeft
        # Completion of tspeft for zsh. Put it as _tspeft into a directory of $fpath, or load it with:
        # source <(tspeft completions zsh)
        _tspeft() {
            local -a answer described endings
            local line name
            answer=("${(@f)$("${(Q)words[1]/#\~/$HOME}" ---complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
            case ${answer[1]} in
            words)
                for line in "${(@)answer[2,-1]}"; do
                    name=${line%%$'\t'*}
                    if [[ $line == *$'\t'* ]]; then
                        described+=("${name//:/\\:}:${line#*$'\t'}")
                    else
                        described+=("${name//:/\\:}")
                    fi
                done
                if [[ $PREFIX == --*=* ]]; then
                    compset -P '*='
                    described=("${(@)described#*=}")
                fi
                (( ${#described} )) && _describe -t values value described
                ;;
            directories) _files -/ ;;
            files*)
                endings=(${(s: :)answer[1]#files})
                if (( ${#endings} )); then
                    _files -g "*.(${(j:|:)endings})(-.)"
                else
                    _files
                fi
                ;;
            esac
        }
        if [[ ${funcstack[1]} == _tspeft ]]; then
            _tspeft "$@"
        else
            compdef _tspeft tspeft
        fi
        """#

    private static let fish = #"""
        # Completion of tspeft for fish. Put it as tspeft.fish into ~/.config/fish/completions.
        function __tspeft_complete
            set -l given (commandline -opc)
            set -l word (commandline -ct)
            set -l program (string replace -r '^~' $HOME -- $given[1])
            set -l answer ($program ---complete $given[2..-1] "$word" 2>/dev/null)
            set -l endings (string split -n ' ' -- $answer[1])
            switch "$endings[1]"
                case words
                    test (count $answer) -gt 1; and printf '%s\n' $answer[2..-1]
                case directories
                    __fish_complete_directories "$word" ''
                case files
                    set -l all (__fish_complete_path "$word" '')
                    set -l fitting
                    for name in $all
                        set -l path (string split \t -- $name)[1]
                        if string match -q '*/' -- $path
                            set -a fitting $name
                            continue
                        end
                        for ending in $endings[2..-1]
                            string match -q "*.$ending" -- $path; and set -a fitting $name; and break
                        end
                    end
                    # Where nothing fits, any file may be meant.
                    test (count $fitting) -eq 0; and set fitting $all
                    test (count $fitting) -gt 0; and printf '%s\n' $fitting
            end
        end
        complete -c tspeft -f -a '(__tspeft_complete)'
        """#
}
