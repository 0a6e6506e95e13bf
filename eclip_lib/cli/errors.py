"""How the command line ends: in one message instead of a traceback where the user can put it right."""

import click

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


class Commands(click.Group):
    """A group whose commands end in one message instead of a traceback where the user can put it right."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command.

        Raises:
            click.ClickException: for what a wrong file or value, or a failing notebook, raised.
        """
        try:
            return super().invoke(ctx)
        except (ValueError, FileNotFoundError) as error:
            raise click.UsageError(str(error)) from error
        except OSError as error:  # no permission, a folder where a file should be, a full disk
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as stop:
            click.echo(f"\n{stop}" if str(stop) else "\nstopped", err=True)
            ctx.exit(INTERRUPTED)
